"""The search for the learning rate: trials bracket the highest that keeps the utility, then bisect on the logarithm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from ..settings import Section

#: The first trial's rate for LoRA's default initialisation; another's is as many times higher or lower as its
#: `learning_rate_factors` are.
FIRST_RATE = 2e-3
#: Between a rate that keeps the utility and one that does not, this ratio is near enough.
NARROW = 1.2
#: A trial is left, once a third of its epochs are over, with less than this share of the utility, or where the forget
#: score is no further than this from the original's.
LOST_SHARE, UNMOVED = 0.9, 1e-3


class Tuning(Section):
    """The search behind `training.learning_rate: auto`."""

    trials: int = Field(6, ge=1, description="trainings at most, each at another learning rate")


@dataclass(frozen=True)
class Tried:
    """A rate, and whether the model still had its utility at the end of the trial."""

    learning_rate: float
    kept: bool


def next_rate(first: float, tried: Sequence[Tried]) -> float | None:
    """The rate of the next trial, of three digits; None where the border is known closely enough.

    While every trial kept the utility the rate is doubled, while none did it is halved; then the geometric mean of the
    highest that did and the lowest that did not.
    """
    kept = [trial.learning_rate for trial in tried if trial.kept]
    lost = [trial.learning_rate for trial in tried if not trial.kept]
    if not tried:
        rate = first
    elif not lost:
        rate = 2 * max(kept)
    elif not kept:
        rate = min(lost) / 2
    elif min(lost) <= NARROW * max(kept):
        return None
    else:
        rate = math.sqrt(max(kept) * min(lost))
    return float(f"{rate:.3g}")
