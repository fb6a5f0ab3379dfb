"""`expunge finetune`: the base and the reference model of a benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..trust import trusting
from .parameters import Overrides, RecipeFile, TrustRemoteCode
from .printing import first_process


def finetune(
    recipe: RecipeFile,
    on: Annotated[
        str, typer.Option(help="full: forget and retain set; retain: a model that never saw the forget set")
    ],
    output: Annotated[Path, typer.Option(help="folder for the model")],
    overrides: Overrides = None,
    lora: Annotated[
        bool, typer.Option("--lora", help="train and merge a LoRA adapter, not all weights")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted finetuning")] = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Make a benchmark's models: one that knows everything, and the reference; prints the recipe's line for it."""
    from ..run.finetune import finetune_recipe  # here for the start-up time

    with trusting(trust_remote_code):
        finetuned = finetune_recipe(recipe, overrides or [], on=on, output=output, lora=lora, resume=resume)
    if first_process():
        print(finetuned.recipe_line)
