"""README.md of several requests: the model card of the one adapter that holds the changes of all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from ..adapters.origin import read_origin
from ..folder.reading import read_run_folder
from ..intact import read_intact
from ..storage import read_json, write_text
from . import quantities
from .card import is_hub_id, vllm_rank
from .continual import evidence_of, forget_tables, has_reference, kept_table, overall
from .deliverable import DELIVERABLES
from .page import templates
from .tables import request_rows
from .verdict import limits

#: What each request's own card says of itself that is the same for all of them.
ALIKE = ("Retain set", "Hash of the retain set", "Method", "Training", "Seed")


def write_continual_card(folder: Path) -> Path:
    """Write `README.md` into the folder of several requests that are over, and return its path.

    It never holds text of the data sets. Raises `InputError` where a file in the folder cannot be read.
    """
    state = read_intact(read_json, folder / "continual.json")
    recipe = read_intact(
        lambda file: yaml.safe_load(file.read_text(encoding="utf-8")), folder / "recipe.yaml"
    )
    model, rank = recipe["model"]["path"], state["adapter"]["rank"]
    text = (
        templates()
        .get_template("continual_card.md.j2")
        .render(
            run={
                "name": state["name"],
                "fingerprint": read_origin(folder / "adapter").fingerprint,
                "has_reference": has_reference(state),
            },
            model=model,
            hub_id=model if is_hub_id(model) else None,
            verdict=overall(folder, state),
            limits=limits(evidence_of(folder, state, 1)),
            request=_asked(folder, state, recipe),
            forget=forget_tables(state),
            kept=kept_table(state),
            rank=rank,
            vllm_rank=vllm_rank(rank),
            merged=(folder / "merged").is_dir(),
            deliverable=DELIVERABLES["adapter"],
            form="adapter",
            beneath=[],
        )
    )
    path = folder / "README.md"
    write_text(path, text)
    return path


def _asked(folder: Path, state: Mapping[str, Any], recipe: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(what, its value): the requests, then what they have in common."""
    first = read_run_folder(folder / state["requests"][0]["folder"])
    sets = [
        (
            f"Forget set {number}",
            f"{quantities.count(each['n'])} examples from {each['source']}, hash {each['hash'][:12]}",
        )
        for number, each in enumerate(state["data"]["forget"], start=1)
    ]
    earlier = ", ".join(recipe["model"].get("adapters") or [])
    return [
        ("Model", recipe["model"]["path"]),
        *([("Earlier adapters that this one holds too", earlier)] if earlier else []),
        *sets,
        *((what, value) for what, value in request_rows(first) if what in ALIKE),
    ]
