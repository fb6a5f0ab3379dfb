"""What several commands print: metrics, and the outcome of a run."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..evaluation.metric import Metric
    from ..evidence import Check
    from ..run.result import Run

#: The exit code with --strict, where the forget set is not forgotten with the utility kept.
NOT_AS_ASKED = 3
#: That of a check that fails.
CHECK_FAILED = 1


def print_metrics(
    metrics: Mapping[str, Metric], as_json: bool, more: Mapping[str, Any] | None = None
) -> None:
    """A line a metric, or one JSON document with `more` beside them."""
    if as_json:
        # JSON has no word for the figure of a diverged model that is no number.
        content = {
            name: {
                key: value if value is None or math.isfinite(value) else None
                for key, value in metric.to_json().items()
            }
            for name, metric in metrics.items()
        }
        print(json.dumps({"metrics": content, **(more or {})}, indent=2, allow_nan=False))
        return
    width = max(map(len, metrics), default=0)
    for name, metric in metrics.items():
        interval = "" if metric.low is None else f"  [{metric.low:.4f}, {metric.high:.4f}]"
        print(f"{name:<{width}} {metric.value:<14.6g} N = {metric.n}{interval}")


def print_outcome(run: Run, strict: bool) -> None:
    """Before, after, reference and the verdict on stderr, the report's path on stdout; of several processes the first
    speaks. Raises `typer.Exit` where the run's result is not what was asked for."""
    verdict = run.verdict
    if first_process():
        _print_figures(run.metrics)
        print(f"Verdict: {verdict.line}", file=sys.stderr)
        print(run.report)
    if strict and not verdict.satisfied:
        raise typer.Exit(NOT_AS_ASKED)


def _print_figures(metrics: Mapping[str, Any]) -> None:
    """A line a metric, as every stage has it."""
    sides = {name: values for name, values in metrics.items() if values}
    names = [name for name in sides["before"] if name in sides.get("after", sides["before"])]
    print(f"{'':<32}" + "".join(f"{side:>14}" for side in sides), file=sys.stderr)
    for name in names:
        cells = [
            f"{sides[side][name]['value']:>14.4g}" if name in sides[side] else f"{'':>14}" for side in sides
        ]
        print(f"{name:<32}" + "".join(cells), file=sys.stderr)


def first_process() -> bool:
    """Of several, one speaks."""
    from ..progress import first_process  # here, because its bars take a tenth of a second to import

    return first_process()


def print_checks(checks: Sequence[Check], as_json: bool, more: Mapping[str, Any]) -> None:
    """A line a check, or one JSON document. Raises `typer.Exit` where one fails."""
    if as_json:
        found = [{"holds": check.holds, "said": check.said} for check in checks]
        print(json.dumps({"checks": found, **more}, indent=2, ensure_ascii=False))
    else:
        for check in checks:
            print(f"{ {True: 'holds ', False: 'FAILS ', None: 'open  '}[check.holds] } {check.said}")
    if any(check.holds is False for check in checks):
        raise typer.Exit(CHECK_FAILED)
