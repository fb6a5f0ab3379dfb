"""What a verdict is reached from, and the words that it is put in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from ..evaluation.metric import Metric
from .deliverable import DELIVERABLES
from .truth_ratio import Shift

SIGNIFICANCE = 0.05
HALF_WAY = 0.5


class Tone(str, Enum):
    GOOD = "good"
    CAUTION = "caution"
    BAD = "bad"
    OPEN = "open"


class Forgetting(str, Enum):
    FORGOTTEN = "forgotten"
    PARTLY = "partly forgotten"
    NOT = "not forgotten"
    OVERSHOT = "pushed past forgetting"
    NEVER_KNOWN = "nothing to forget"
    REDUCED = "recalled less; whether it is forgotten cannot be said"
    UNKNOWN = "not measured"


@dataclass(frozen=True)
class Finding:
    tone: Tone
    title: str
    text: str


@dataclass(frozen=True)
class Evidence:
    """What a verdict is reached from. Metrics by name; empty where a stage was not evaluated.

    shift:    where the truth ratios after unlearning lie against the reference's, where both are known
    floor:    the share of the utility that has to be kept
    epoch:    the chosen epoch; qualified: whether an epoch met the utility rule
    stopped:  why training stopped early, None where it did not
    failed:   whether the run ended with an error
    surrogate: what `run.json` says about the model's own samples that stood in for a retain set; empty where it
               was the user's
    limit:    what the form in which the result is handed over does not give
    """

    before: Mapping[str, Metric] = field(default_factory=dict)
    after: Mapping[str, Metric] = field(default_factory=dict)
    reference: Mapping[str, Metric] = field(default_factory=dict)
    shift: Shift | None = None
    floor: float = 0.95
    epoch: int | None = None
    qualified: bool = True
    stopped: str | None = None
    failed: bool = False
    surrogate: Mapping[str, Any] = field(default_factory=dict)
    limit: str = DELIVERABLES["adapter"].limit


def lower(metric: Metric) -> float:
    return metric.value if metric.low is None else metric.low


def upper(metric: Metric) -> float:
    return metric.value if metric.high is None else metric.high
