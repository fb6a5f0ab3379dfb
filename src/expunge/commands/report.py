"""`expunge report`: a run's report once more."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def report(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run")],
    show_text: Annotated[
        bool,
        typer.Option(
            "--show-text", help="with the forgotten answers: they are to be deleted, so keep it safe"
        ),
    ] = False,
) -> None:
    """Write a run's report again, from the files in its folder."""
    from ..report import report_run  # here for the start-up time

    print(report_run(run_folder, show_text))
