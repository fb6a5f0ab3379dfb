"""`expunge run`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .parameters import (
    Forget,
    Holdout,
    Model,
    Overrides,
    RecipeOrOptions,
    Retain,
    Strict,
    TrustRemoteCode,
    chosen_recipe,
)
from .printing import print_outcome


def run(
    recipe: RecipeOrOptions = None,
    overrides: Overrides = None,
    model: Model = None,
    forget: Forget = None,
    retain: Retain = None,
    holdout: Holdout = None,
    output: Annotated[Path | None, typer.Option(help="run folder, in place of the recipe's")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run")] = False,
    strict: Strict = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Unlearn: importance → adapter → training → evaluation → export → report; ends with the verdict."""
    from ..run.unlearn import unlearn  # here for the start-up time

    with chosen_recipe(recipe, overrides, model, forget, retain, holdout) as (source, changes):
        finished = unlearn(source, changes, output=output, resume=resume, trust_remote_code=trust_remote_code)
    print_outcome(finished, strict)
