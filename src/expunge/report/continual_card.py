"""README.md of several requests: the model card of the one adapter that holds the changes of all of them."""

from __future__ import annotations

from pathlib import Path

from ..adapters.origin import read_origin
from ..folder.requests import ContinualFolder
from ..hub import is_hub_id
from ..storage import write_text
from . import quantities
from .card import vllm_rank
from .continual import evidence_of, forget_tables, has_reference, kept_table, overall
from .deliverable import DELIVERABLES
from .page import templates
from .tables import request_rows
from .verdict import limits

#: The rows that are the same in the cards of all requests.
ALIKE = ("Retain set", "Hash of the retain set", "Method", "Training", "Seed")


def write_continual_card(folder: Path) -> Path:
    """Write `README.md` into the folder of several requests that are over, and return its path.

    It never holds text of the data sets. Raises `InputError` where a file in the folder cannot be read.
    """
    several = ContinualFolder(folder)
    state = several.state
    model, rank = several.requests.whole.model.path, state.adapter.rank if state.adapter else None
    text = (
        templates()
        .get_template("continual_card.md.j2")
        .render(
            run={
                "name": state.name,
                "fingerprint": read_origin(several.adapter).fingerprint
                if state.adapter
                else state.requests[0].model.fingerprint,
                "has_reference": has_reference(state),
            },
            model=model,
            hub_id=model if is_hub_id(model) else None,
            verdict=overall(several),
            recalled=None,
            handed_over=state.adapter is not None,
            limits=limits(evidence_of(several, 1)),
            request=_asked(several),
            forget=forget_tables(state),
            kept=kept_table(state),
            rank=rank,
            vllm_rank=vllm_rank(rank),
            merged=several.merged.is_dir(),
            deliverable=DELIVERABLES["adapter"],
            form="adapter",
            beneath=[],
        )
    )
    write_text(several.card_file, text)
    return several.card_file


def _asked(folder: ContinualFolder) -> list[tuple[str, str]]:
    """(what, its value): the requests, then what they have in common."""
    model = folder.requests.whole.model
    sets = [
        (
            f"Forget set {number}",
            f"{quantities.count(forget.n)} examples from {forget.source}",
        )
        for number, forget in enumerate(folder.state.data.forget, start=1)
    ]
    earlier = ", ".join(model.adapters)
    return [
        ("Model", model.path),
        *([("Earlier adapters that this one holds too", earlier)] if earlier else []),
        *sets,
        *((what, value) for what, value in request_rows(folder.request(1)) if what in ALIKE),
    ]
