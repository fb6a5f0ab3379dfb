"""The arguments and options that several commands have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from ..errors import InputError, Problem, placed_by
from . import completion

RecipeFile = Annotated[Path, typer.Argument(help="recipe (YAML), or the name of a shipped one")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="key.sub=value, over what the recipe says", autocompletion=completion.overrides),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="exit code 3 unless it is forgotten, with the utility kept")
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="run Python code that comes with models and task files, in this call"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document on stdout, nothing else there")]

#: One's own model and files: of `expunge init`, and in place of a RECIPE.
Model = Annotated[str | None, typer.Option(help="your model: a folder, or organisation/name on the hub")]
Forget = Annotated[
    str | None, typer.Option(help="what must go: a file, a folder, or organisation/name:split on the hub")
]
Retain = Annotated[
    str | None,
    typer.Option(help="what must stay, read in the same way; without it the model writes samples itself"),
]
Holdout = Annotated[str | None, typer.Option(help="like what must go, but the model never saw it")]
RecipeOrOptions = Annotated[
    Path | None,
    typer.Argument(help="recipe (YAML), or the name of a shipped one; or give --model and --forget"),
]


@contextmanager
def chosen_recipe(
    recipe: Path | None,
    overrides: Sequence[str] | None,
    model: str | None,
    forget: str | None,
    retain: str | None,
    holdout: str | None,
) -> Iterator[tuple[Path | Mapping[str, Any], list[str]]]:
    """Within the block the recipe, or the one of --model and --forget, and the overrides.

    With these options the words of the command line are overrides, the first too. Problems name the options.
    Raises `InputError` where both are given, or neither.
    """
    words = [*([str(recipe)] if recipe else []), *(overrides or [])]
    if not any((model, forget, retain, holdout)):
        if recipe is None:
            raise InputError(
                Problem("RECIPE", "there is none.", "Give a recipe (YAML), or --model and --forget.")
            )
        yield recipe, words[1:]
        return
    if recipe is not None and "=" not in str(recipe):
        raise InputError(
            Problem(f"RECIPE: {recipe}", "there are --model, --forget, --retain or --holdout beside it.",
                    "Give a recipe, or these options; of a recipe: model.path=… and data.forget=….")
        )  # fmt: skip
    if model is None or forget is None:
        missing = "--model" if model is None else "--forget"
        raise InputError(Problem(missing, "it is missing.", f"Give {missing} as well, or a recipe."))
    from ..recipe.own_files import option_of, own_recipe  # here for the start-up time

    with placed_by(option_of):
        yield own_recipe(model, forget, retain, holdout), words
