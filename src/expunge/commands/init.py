"""`expunge init`: a first recipe for one's own model and files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError, Problem, placed_by
from ..trust import trusting
from . import completion
from .parameters import Forget, Holdout, Model, Retain, TrustRemoteCode


def init(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            help="key.sub=value, written into the recipe: data.answer_column=reply",
            autocompletion=completion.overrides,
        ),
    ] = None,
    model: Model = None,
    forget: Forget = None,
    retain: Retain = None,
    holdout: Holdout = None,
    output: Annotated[Path, typer.Option(help="file to write")] = Path("recipe.yaml"),
    look: Annotated[
        bool,
        typer.Option("--look/--no-look", help="load the model and measure how well it knows a few samples"),
    ] = True,
    interactive: Annotated[bool, typer.Option("--interactive", help="ask for what is missing")] = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Look at your model and files, and write a recipe that works as it is."""
    # Here for the start-up time.
    from ..progress import say
    from ..recipe.loading import read_content
    from ..recipe.own_files import option_of, own_recipe
    from ..run import first_recipe

    first_recipe.refuse_existing(output)
    given = list(overrides or [])
    if interactive:
        model = model or typer.prompt("Model: a folder, or organisation/name on the hub", err=True)
        forget = forget or typer.prompt(
            "What must go: a file, a folder, or organisation/name:split", err=True
        )
        retain = retain or _asked(
            "What must stay, read in the same way (Enter: the model writes samples itself)"
        )
        holdout = holdout or _asked("Like what must go, but the model never saw it (Enter: there is none)")
    if model is None or forget is None:
        missing = " and ".join(
            name for name, value in (("--model", model), ("--forget", forget)) if value is None
        )
        raise InputError(Problem(missing, "it is missing.", "Name it, or let --interactive ask for it."))
    with placed_by(option_of), trusting(trust_remote_code):
        if interactive:
            given += _columns(first_recipe.unrecognised_columns(forget, "data.forget"), given)
        _, content = read_content(own_recipe(model, forget, retain, holdout), given)
        seen = first_recipe.look(content, knowledge=look)
    first_recipe.write_recipe(output, content, seen)
    for line in seen.lines:
        say(line)
    say(f"Next: expunge validate {output}, which costs nothing, then expunge run {output}")
    print(output)


def _asked(question: str) -> str | None:
    return typer.prompt(question, default="", show_default=False, err=True) or None


def _columns(there: list[str], given: list[str]) -> list[str]:
    """Overrides that name the columns of files whose format is not recognised."""
    if not there or any(override.startswith("data.") for override in given):
        return []
    from ..progress import say  # here for the start-up time

    say(f"The columns are {', '.join(there)}: of no known format.")
    question = _asked("Column of the question (Enter: each row is a text)")
    if question is None:
        return [f"data.text_column={typer.prompt('Column of the text', err=True)}"]
    answer = typer.prompt("Column of the answer", err=True)
    return [f"data.question_column={question}", f"data.answer_column={answer}"]
