"""`expunge chat`: the same question to the models of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError, Problem
from ..trust import trusting
from .parameters import AsJson, TrustRemoteCode


def chat(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a finished run")],
    question: Annotated[
        str | None,
        typer.Option(help="ask this alone; else questions are read, a line each, until the input ends"),
    ] = None,
    temperature: Annotated[
        float, typer.Option(min=0, help="0: the likeliest token; above: drawn, alike for every model")
    ] = 0.0,
    max_new_tokens: Annotated[int, typer.Option(min=1, help="longest answer, in tokens")] = 200,
    web: Annotated[
        bool, typer.Option("--web", help="a page on this machine alone (needs expunge[web])")
    ] = False,
    trust_remote_code: TrustRemoteCode = False,
    as_json: AsJson = False,
) -> None:
    """Ask the original, the unlearned and, where there is one, the reference model the same, side by side.

    A run on plain text goes on with the text that it is given, unless the model has a chat template. No question leaves
    this machine, and none is kept.
    """
    if as_json and question is None:
        raise InputError(Problem("--json", "it is for one question.", "Give it by --question."))
    if web and question is not None:
        raise InputError(Problem("--web", "questions are asked on the page.", "Leave --question out."))
    # Here for the start-up time.
    from ..run import chat_page
    from ..run.conversation import Conversation

    gradio = chat_page.load_gradio() if web else None
    with trusting(trust_remote_code):
        conversation = Conversation(run_folder)
    ask = partial(conversation.ask, max_new_tokens=max_new_tokens, temperature=temperature)
    if gradio is not None:
        chat_page.serve(gradio, f"expunge chat {run_folder}", list(conversation.voices), ask)
    elif as_json:
        assert question is not None
        print(json.dumps({"question": question, "answers": ask(question)}, indent=2, ensure_ascii=False))
    else:
        for asked in [question] if question is not None else _lines():
            _print_columns(asked, ask(asked))


def _lines() -> Iterator[str]:
    """The questions on stdin, after a prompt where it is a terminal."""
    while True:
        if sys.stdin.isatty():
            print("> ", end="", file=sys.stderr, flush=True)
        line = sys.stdin.readline()
        if not line:
            return
        if line.strip():
            yield line.strip()


def _print_columns(question: str, answers: dict[str, str]) -> None:
    # Here for the start-up time.
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(question), title_justify="left", expand=True, show_lines=False)
    for name in answers:
        table.add_column(name, ratio=1, overflow="fold")
    table.add_row(*map(Text, answers.values()))  # as text: an answer may hold what rich takes for markup
    Console().print(table)
