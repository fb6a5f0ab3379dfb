"""`expunge export`: the deliverable of a finished run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..trust import trusting
from .parameters import Strict, TrustRemoteCode
from .printing import NOT_AS_ASKED

if TYPE_CHECKING:
    from ..report.continual import Overall
    from ..report.verdict import Verdict


def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a finished run")],
    output: Annotated[Path, typer.Option(help="folder to write")],
    to: Annotated[str, typer.Option(help="adapter, merged or assistant")] = "adapter",
    strict: Strict = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Write a run's result: the adapter for the untouched base, or the model with the change merged in.

    What stands against the run's verdict is said first; with --strict nothing is written then. Of merged weights it is
    said what merging brought back.
    """
    from ..folder.run import RunFolder  # here for the start-up time, as below
    from ..report.attacks import self_check
    from ..run.export import export_run

    def look(verdict: Verdict | Overall) -> None:
        if verdict.satisfied:
            return
        print(f"Warning: the verdict of this run is: {verdict.objection}", file=sys.stderr)
        if strict:
            raise typer.Exit(NOT_AS_ASKED)

    with trusting(trust_remote_code):
        print(export_run(run_folder, to, output, look))
    run = RunFolder(run_folder)
    if to == "merged" and run.state_file.is_file():  # of several requests each was attacked by itself
        print(self_check(run.state.attacks), file=sys.stderr)
