"""`expunge run`: the main job."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .parameters import Overrides, RecipeFile, Strict
from .printing import print_outcome


def run(
    recipe: RecipeFile,
    overrides: Overrides = None,
    output: Annotated[Path | None, typer.Option(help="run folder, in place of the recipe's")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted run")] = False,
    strict: Strict = False,
) -> None:
    """Unlearn: importance → adapter → training → evaluation → export → report; ends with the verdict."""
    from ..run.unlearn import unlearn  # here for the start-up time

    print_outcome(unlearn(recipe, overrides or [], output=output, resume=resume), strict)
