"""When enough is forgotten: every metric of a list at or below its threshold."""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InputError, Problem, nearest
from ..evaluation.metric import Metric


def check_thresholds(thresholds: Mapping[str, float], metrics: Mapping[str, Metric]) -> None:
    """Raise `InputError` for thresholds of metrics that the benchmark does not report."""
    problems = [
        Problem("stopping.thresholds", f"this benchmark reports no {name!r}.", nearest(name, metrics))
        for name in thresholds
        if name not in metrics
    ]
    if problems:
        raise InputError(problems)


def all_reached(thresholds: Mapping[str, float], metrics: Mapping[str, Metric]) -> bool:
    """Whether there are thresholds, and every one is reached: the TDEC rule for EL₁₀ and MA (LoKU §4.1)."""
    return bool(thresholds) and all(metrics[name].value <= limit for name, limit in thresholds.items())
