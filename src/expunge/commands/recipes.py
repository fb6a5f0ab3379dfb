"""`expunge recipes`: the recipes that come with the package."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .parameters import AsJson

recipes = typer.Typer(help="The papers' experiments at full size, as recipes.", no_args_is_help=True)


@recipes.command()
def ls(as_json: AsJson = False) -> None:
    """Every shipped recipe, with its paper, benchmark and model."""
    from ..recipe.shipped import shipped_recipes  # here for the start-up time, as below

    shipped = [recipe.facts for recipe in shipped_recipes().values()]
    if as_json:
        print(json.dumps(shipped, indent=2, ensure_ascii=False))
        return
    for recipe in shipped:
        print(f"{recipe['name']:<28} {recipe['paper']:<16} {recipe['benchmark']:<6} {recipe['model']}")
        print(f"{'':<28} {recipe['description']}")


@recipes.command()
def show(name: Annotated[str, typer.Argument(help="name that `recipes ls` shows")]) -> None:
    """Print a shipped recipe."""
    from ..recipe.shipped import shipped_recipe

    print(shipped_recipe(name).text, end="")


@recipes.command()
def cp(
    name: Annotated[str, typer.Argument(help="name that `recipes ls` shows")],
    path: Annotated[Path, typer.Argument(help="file to write, or a folder")],
) -> None:
    """Copy a shipped recipe to change it."""
    from ..recipe.shipped import copy_recipe

    print(copy_recipe(name, path))
