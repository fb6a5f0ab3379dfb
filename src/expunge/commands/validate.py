"""`expunge validate`: what a run would do."""

from __future__ import annotations

import json

from ..trust import trusting
from .parameters import AsJson, Overrides, RecipeFile, TrustRemoteCode


def validate(
    recipe: RecipeFile,
    overrides: Overrides = None,
    as_json: AsJson = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Check a recipe: every error at once, or the resolved recipe, its steps, parameters and memory."""
    from ..cost.plan import plan  # here for the start-up time

    with trusting(trust_remote_code):
        planned = plan(recipe, overrides or [])
    if as_json:
        print(json.dumps(planned, indent=2))
        return
    print(planned["recipe"])
    for line in planned["lines"]:
        print(line)
