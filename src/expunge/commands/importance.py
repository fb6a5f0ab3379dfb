"""`expunge importance`: measured once, and kept for the runs that need the same."""

from __future__ import annotations

from ..trust import trusting
from .parameters import Overrides, RecipeFile, TrustRemoteCode


def importance(
    recipe: RecipeFile, overrides: Overrides = None, trust_remote_code: TrustRemoteCode = False
) -> None:
    """Measure the importance that a recipe asks for, once; runs with the same model, data and settings reuse it."""
    from ..run.importance import measure_and_store  # here for the start-up time

    with trusting(trust_remote_code):
        print(measure_and_store(recipe, overrides or []))
