"""`expunge compare`: runs side by side."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from .parameters import AcrossSets, AsJson


def compare(
    run_folders: Annotated[list[Path], typer.Argument(metavar="RUN…", help="folders of runs")],
    form: Annotated[
        Literal["markdown", "csv", "latex"],
        typer.Option("--format", help="markdown and latex: a table to read; csv: every metric"),
    ] = "markdown",
    across_sets: AcrossSets = False,
    as_json: AsJson = False,
) -> None:
    """Compare runs: means and deviations over seeds, how many succeeded, and what they cost."""
    from ..report import comparison_table  # here for the start-up time
    from ..report.comparison import compare as grouped

    groups = grouped(run_folders, across_sets)
    if as_json:
        print(json.dumps({"groups": [group.to_json() for group in groups]}, indent=2, ensure_ascii=False))
        return
    write = {
        "markdown": comparison_table.markdown,
        "csv": comparison_table.comma_separated,
        "latex": comparison_table.latex,
    }[form]
    print(write(groups))
