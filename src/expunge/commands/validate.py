"""`expunge validate`: what a run would do."""

from __future__ import annotations

import json

from ..trust import trusting
from .parameters import (
    AsJson,
    Forget,
    Holdout,
    Model,
    Overrides,
    RecipeOrOptions,
    Retain,
    TrustRemoteCode,
    chosen_recipe,
)


def validate(
    recipe: RecipeOrOptions = None,
    overrides: Overrides = None,
    model: Model = None,
    forget: Forget = None,
    retain: Retain = None,
    holdout: Holdout = None,
    as_json: AsJson = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Check a recipe: every error at once, or the resolved recipe, its steps, parameters and memory."""
    from ..cost.plan import plan  # here for the start-up time

    with (
        trusting(trust_remote_code),
        chosen_recipe(recipe, overrides, model, forget, retain, holdout) as (source, changes),
    ):
        planned = plan(source, changes)
    if as_json:
        print(json.dumps(planned, indent=2))
        return
    print(planned["recipe"])
    for line in planned["lines"]:
        print(line)
