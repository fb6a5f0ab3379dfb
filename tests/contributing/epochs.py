"""`expunge epochs`: what a run measured after each epoch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from .parameters import AsJson


def epochs(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a run")],
    as_json: AsJson = False,
) -> None:
    """Print how much was forgotten and how much is left after each epoch of a run."""
    from ..folder.run import read_run_folder  # here for the start-up time

    shown = {"epoch", "forget_score", "utility"}
    rows = [row.model_dump(include=shown) for row in read_run_folder(run_folder).epochs]
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    for row in rows:
        left = "" if row["utility"] is None else f"  utility {row['utility']:.4f}"
        print(f"epoch {row['epoch']:<3} forget score {row['forget_score']:.4f}{left}")
