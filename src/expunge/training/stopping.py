"""When enough is forgotten: every metric of a list at its threshold, or beyond."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from ..errors import InputError, Problem, nearest
from ..evaluation.metric import Metric


def check_thresholds(
    thresholds: Mapping[str, float], metrics: Mapping[str, Metric], remedy: str = ""
) -> None:
    """Raise `InputError` for thresholds of metrics that are not among those of an evaluation.

    remedy: the way out where not the name is wrong but the evaluation, in place of the nearest name
    """
    problems = [
        Problem(
            "stopping.thresholds", f"this evaluation reports no {name!r}.", remedy or nearest(name, metrics)
        )
        for name in thresholds
        if name not in metrics
    ]
    if problems:
        raise InputError(problems)


def all_reached(
    thresholds: Mapping[str, float], metrics: Mapping[str, Metric], rising: Collection[str] = ()
) -> bool:
    """Whether there are thresholds, and every one is reached: the TDEC rule for EL₁₀ and MA (LoKU §4.1).

    A threshold is reached at or below it; at or above it where the metric is among those `rising` as the forget set
    is forgotten.
    """
    return bool(thresholds) and all(
        metrics[name].value >= limit if name in rising else metrics[name].value <= limit
        for name, limit in thresholds.items()
    )
