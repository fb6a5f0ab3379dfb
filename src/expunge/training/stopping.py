"""The rule for enough forgetting: every metric of a list is at its threshold, or beyond."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem, nearest
from ..evaluation.measures import calibrated, declared
from ..evaluation.metric import Metric
from ..storage import read_json
from .settings import Stopping


def read_thresholds(stopping: Stopping) -> dict[str, float]:
    """Metric → threshold. Raises `InputError` for a file that holds none, where the TDEC rule lacks one, and for a
    metric that does not tell how far the forget set is forgotten.

    The TDEC rule looks at the metrics that are declared `calibrated` (LoKU §4.1). The metrics of a benchmark are
    declared where the benchmark has been imported.
    """
    if stopping.rule is None or stopping.thresholds is None:
        return {}
    thresholds: Any = stopping.thresholds
    if isinstance(thresholds, str):
        try:
            thresholds = {
                name: float(value) for name, value in read_json(Path(thresholds))["thresholds"].items()
            }
            if not thresholds or not all(map(math.isfinite, thresholds.values())):
                raise ValueError("they are none, or no numbers")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(
                Problem("stopping.thresholds", f"{stopping.thresholds!r} holds no thresholds ({error!r}).",
                        "Name the file that `expunge eval --calibrate` wrote.")
            ) from None  # fmt: skip
    _refuse_what_does_not_tell(thresholds)
    missing = [name for name in calibrated() if stopping.rule == "tdec" and name not in thresholds]
    if missing:
        raise InputError(
            Problem("stopping.thresholds", f"the TDEC rule needs {' and '.join(missing)}.",
                    "Calibrate them by `expunge eval --benchmark tdec --calibrate`.")
        )  # fmt: skip
    return thresholds


def _refuse_what_does_not_tell(thresholds: Mapping[str, float]) -> None:
    problems = [
        Problem("stopping.thresholds",
                f"{name!r} does not tell how far the forget set is forgotten, so training cannot end by it.",
                "Name a metric of the forget set, such as forget_probability.")
        for name in thresholds
        if (measure := declared(name)) and measure.forgetting is None
    ]  # fmt: skip
    if problems:
        raise InputError(problems)


def check_thresholds(
    thresholds: Mapping[str, float], metrics: Mapping[str, Metric], remedy: str = ""
) -> None:
    """Raise `InputError` for thresholds of metrics that are not among those of an evaluation.

    remedy: the way out, in place of the nearest name, where the evaluation is wrong and not the name
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


def all_reached(thresholds: Mapping[str, float], metrics: Mapping[str, Metric]) -> bool:
    """Whether there are thresholds, and every one is reached: the TDEC rule for EL₁₀ and MA (LoKU §4.1).

    A threshold is reached at or below it; at or above it where the metric is declared to rise as the forget set is
    forgotten.
    """
    return bool(thresholds) and all(
        metrics[name].value >= limit if _rises(name) else metrics[name].value <= limit
        for name, limit in thresholds.items()
    )


def _rises(name: str) -> bool:
    measure = declared(name)
    return measure is not None and measure.forgetting == "rises"
