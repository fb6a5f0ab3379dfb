"""`expunge score`: metrics from logs alone."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .parameters import AsJson
from .printing import print_metrics

score = typer.Typer(help="Compute metrics from per-question logs, without a model.", no_args_is_help=True)


@score.command()
def tofu(
    log: Annotated[
        Path, typer.Argument(help="per-question log: expunge's, the TOFU authors' or open-unlearning's")
    ],
    reference: Annotated[
        Path | None, typer.Option(help="log of the model that never saw the forget set")
    ] = None,
    truth_ratio: Annotated[
        str | None,
        typer.Option(help="geometric or arithmetic mean over wrong answers; by default the log's"),
    ] = None,
    rows: Annotated[bool, typer.Option("--rows", help="add every row's ROUGE to the JSON output")] = False,
    as_json: AsJson = False,
) -> None:
    """Forget Quality and Model Utility of TOFU."""
    from ..benchmarks.tofu.score import rouge_by_row, score_tofu  # here for the start-up time

    metrics = score_tofu(log, reference, truth_ratio)
    print_metrics(metrics, as_json, {"rouge": rouge_by_row(log)} if rows else {})
