"""The choice of the epoch whose model is handed over."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

#: Share of the original's utility that the chosen model must keep (VILA §5).
UTILITY_SHARE = 0.95

#: Why an epoch forgets nothing: its change is lost in rounding, or no less is left of the forget set than before.
Futile = Literal["unchanged", "no better"]


@dataclass(frozen=True)
class Candidate:
    """One evaluated epoch. forget_score: higher is better forgotten; utility: higher is better.

    reached: whether the recipe's thresholds say that enough is forgotten
    futile:  why the epoch forgets nothing; None where it forgets something
    """

    epoch: int
    forget_score: float
    utility: float
    reached: bool = False
    futile: Futile | None = None

    def qualifies(self, original_utility: float) -> bool:
        """Whether enough of the original's utility is left. Where there is no utility to measure, always."""
        return math.isnan(original_utility) or self.utility >= UTILITY_SHARE * original_utility


@dataclass(frozen=True)
class Choice:
    """The chosen epoch, None where nothing was forgotten; and whether it keeps the utility that the rule asks for."""

    epoch: int | None
    qualified: bool


def last(candidates: Sequence[Candidate], original_utility: float) -> Choice:
    """The last epoch, whatever is left of the utility, as LoKU's tables report it; none where it forgets nothing."""
    if not candidates:
        raise ValueError("There is no candidate to choose from.")
    candidate = candidates[-1]
    if candidate.futile is not None:
        return Choice(None, qualified=False)
    return Choice(candidate.epoch, qualified=candidate.qualifies(original_utility))


def choose(candidates: Sequence[Candidate], original_utility: float, resolution: float = 0.0) -> Choice:
    """The highest forget score among the epochs that keep `UTILITY_SHARE` of the utility; the first of equals.

    With a `resolution`, the highest utility among those whose forget score is no further from that one.
    Where none keeps it, the epoch with the highest utility, marked as not qualified: the report says so.
    The epoch that reached the recipe's thresholds ends the training, and is the one that is asked for.
    An epoch that forgets nothing is never chosen.
    """
    if not candidates:
        raise ValueError("There is no candidate to choose from.")
    candidates = [candidate for candidate in candidates if candidate.futile is None]
    if not candidates:
        return Choice(None, qualified=False)
    for candidate in candidates:
        if candidate.reached:
            return Choice(candidate.epoch, qualified=candidate.qualifies(original_utility))
    kept = [candidate for candidate in candidates if candidate.qualifies(original_utility)]
    if kept:
        best = max(kept, key=lambda candidate: candidate.forget_score)
        equals = [each for each in kept if each.forget_score >= best.forget_score - resolution]
        if resolution and not math.isnan(best.utility):
            best = max(equals, key=lambda candidate: candidate.utility)
        return Choice(best.epoch, qualified=True)
    return Choice(max(candidates, key=lambda candidate: candidate.utility).epoch, qualified=False)
