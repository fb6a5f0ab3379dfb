"""The recipe of one's own model and files: what `expunge init` writes, and `expunge run --model … --forget …` runs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ..data.settings import SELF

#: Options of the command line → the recipe's keys that they set.
KEYS = {
    "--model": "model.path",
    "--forget": "data.forget",
    "--retain": "data.retain",
    "--holdout": "data.holdout",
}


def own_recipe(
    model: str, forget: str, retain: str | None = None, holdout: str | None = None
) -> dict[str, Any]:
    """Its content; all else is left to the defaults. Without a retain set the model writes one itself."""
    data = {"forget": forget, "retain": retain or SELF, **({"holdout": holdout} if holdout else {})}
    return {"name": _name(forget), "model": {"path": model}, "data": data}


def option_of(place: str) -> str:
    """The option that sets a recipe's key; the key itself where none does."""
    return next((option for option, key in KEYS.items() if key == place), place)


def _name(forget: str) -> str:
    """What a run is called after its forget set: `letters` for `data/letters.jsonl.gz`, `name-split` for the hub's."""
    stem = Path(forget).name.partition(".")[0] or Path(forget).resolve().name
    return re.sub(r"[^\w-]+", "-", stem).strip("-") or "run"
