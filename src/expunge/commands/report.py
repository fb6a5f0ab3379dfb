"""`expunge report`: a run's report once more; or a page that compares several."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import InputError, Problem
from .parameters import AcrossSets


def report(
    run_folders: Annotated[list[Path], typer.Argument(metavar="RUN…", help="folder of a run; or several")],
    show_text: Annotated[
        bool,
        typer.Option(
            "--show-text", help="with the forgotten answers: they are to be deleted, so keep it safe"
        ),
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="of several runs: the page to write; comparison.html without")
    ] = None,
    across_sets: AcrossSets = False,
) -> None:
    """Write a run's report again, from the files in its folder; of several runs one page that compares them."""
    from ..report.comparison_page import write_comparison  # here for the start-up time
    from ..report.rewrite import report_run

    if len(run_folders) == 1:
        if output is not None or across_sets:
            option = "--output" if output is not None else "--across-sets"
            raise InputError(
                Problem(option, "one run's report lies in its folder.", "Leave it out, or name several runs.")
            )  # fmt: skip
        print(report_run(run_folders[0], show_text))
        return
    if show_text:
        raise InputError(Problem("--show-text", "the page that compares runs has no texts.", "Name one run."))
    print(write_comparison(run_folders, output or Path("comparison.html"), across_sets))
