"""The search for the learning rate: trials bracket the best that keeps the utility, then bisect on the logarithm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pydantic import Field

from ..settings import Section

#: The first trial's rate for a start from B = 0; another's is as many times higher or lower as its
#: `learning_rate_factors` are.
FIRST_RATE = 2e-3
#: Between the best rate and its neighbour, this ratio is near enough.
NARROW = 1.2
#: The next rate below is at least this share of the one before.
LEAST_SHARE = 0.25
#: A trial is left, once a third of its epochs are over, with less than this share of the utility, or where the forget
#: score is no further than this from the original's. What is lost while the forget set goes can be won back: at a share
#: of 0.86 half of the way, 0.95 was reached at the end.
LOST_SHARE, UNMOVED = 0.75, 1e-3
#: Or where it has gone back by this share of the way that an earlier epoch had come, from either side of its aim. A
#: little is won back: scores of 0.909, 0.889, 0.913, 0.927 were seen, and of 0.911, 0.745, 0.752, 0.760.
CAME_BACK = 0.1
#: Why a trial is left that is as good as any.
NOTHING_LEFT = "nothing is left to gain"


class Tuning(Section):
    """The search behind `training.learning_rate: auto`."""

    trials: int = Field(6, ge=1, description="trainings at most, each at another learning rate")


@dataclass(frozen=True)
class Tried:
    """A rate, and how well the trial forgot.

    score:  its forget score, higher is better; None where it lost the utility
    beyond: whether it went too far rather than not far enough; None where nobody knows
    done:   the share of its epochs after which it was left; 1 where it was not
    """

    learning_rate: float
    score: float | None
    beyond: bool | None = None
    done: float = 1.0


def next_rate(first: float, tried: Sequence[Tried], resolution: float = 0.0) -> float | None:
    """The rate of the next trial, of three digits; None where the best rate is known closely enough.

    Of scores that are no further apart than `resolution`, and of rates that did not go too far, the highest rate's is
    the best: what two rates leave alike larger steps may take.

    While the highest rate is the best it is doubled, unless it went too far; while all lost the utility the lowest is
    halved, or multiplied as below where it went too far as well.
    Then the best one has a neighbour above that lost the utility, or forgot less well: further past the reference than
    short of it. Their geometric mean is next. Where the best itself went too far, or where it was forgetting that went
    too far above and nobody knows on which side the best is, it may lie below as well: then the lowest rate is halved
    while it is the best, or multiplied by the share of its epochs that was too much already, at least a quarter (Adam's
    way is as long as its steps are many), and the wider of the two gaps is halved on the logarithm.
    """
    if not tried:
        return _rounded(first)
    kept = {trial.learning_rate: trial for trial in tried if trial.score is not None}
    scores = {rate: trial.score for rate, trial in kept.items() if trial.score is not None}
    rates = sorted(trial.learning_rate for trial in tried)
    if not kept:
        lowest = min(tried, key=lambda trial: trial.learning_rate)
        return _rounded(rates[0] * (_share(lowest) if lowest.beyond else 0.5))
    best = max(scores, key=lambda rate: (scores[rate], rate))
    if not kept[best].beyond:
        enough = scores[best] - resolution
        best = max(rate for rate, score in scores.items() if score >= enough and not kept[rate].beyond)
    too_far = kept[best].beyond
    above = next((rate for rate in rates if rate > best), None)
    below = next((rate for rate in reversed(rates) if rate < best), None)
    gaps = []
    if not too_far:
        if above is None:
            return _rounded(2 * best)
        gaps.append((above / best, above))
    if too_far or (too_far is None and above in kept):
        if below is None:
            return _rounded(best * (_share(kept[best]) if too_far else 0.5))
        gaps.append((best / below, below))
    gap, neighbour = max(gaps)
    return _rounded(math.sqrt(best * neighbour)) if gap > NARROW else None


def _share(tried: Tried) -> float:
    """Of a rate that went too far, how much is to be tried next."""
    return max(LEAST_SHARE, min(0.5, tried.done))


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")
