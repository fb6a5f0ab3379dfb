"""What forgetting one's own data aims at: the answers are to be as probable as those that were never seen, and beside a
holdout membership inference is not to tell the two apart."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ...evaluation.log import EvaluationLog
from ...evaluation.membership import membership_metrics, told_apart
from ...evaluation.metric import Metric, interval, mean_with_interval
from ..benchmark import RESOLUTION

#: The sets that membership inference tells apart.
MEMBERS, HOLDOUT = "forget", "holdout"
#: What is short of its aim by no more than its standard error is near enough, but by no more than this: a small
#: request is to be forgotten as well as a large one.
MOST_ERROR = 0.05


@dataclass(frozen=True)
class Aim:
    """The probabilities of the forget answers, and what they should be like: those of answers that were never seen.

    seen:   of the forget answers, (n,)
    before: what they are not to fall under: the reference's to the same questions; without a reference those that the
            model before training gave to the holdout, (m,). What unlearning has spoilt of the holdout is no aim
    now:    what they are not to lie over: the same; without a reference those that the model itself gives to the
            holdout, as whoever compares the two sets would see, (m,)
    paired: whether the others are answers to the same questions
    told:   without a reference, how clearly membership inference tells them from the holdout now (see `told_apart`).
            Where all is improbable, as in long texts, the means of two probabilities are soon alike; the verdict
            asks for both
    """

    seen: np.ndarray
    before: np.ndarray
    now: np.ndarray
    paired: bool
    told: float = 0.0

    @classmethod
    def of(
        cls, log: EvaluationLog, reference: EvaluationLog | None, before: EvaluationLog | None
    ) -> Aim | None:
        """None without a reference and a holdout."""
        if reference:
            never_seen = [reference.sets[MEMBERS]] * 2
        else:
            holdout = log.sets.get(HOLDOUT, [])
            never_seen = [(before or log).sets.get(HOLDOUT, []) or holdout, holdout]
        if not log.sets[MEMBERS] or not all(never_seen):
            return None
        sides = (log.sets[MEMBERS], *never_seen)
        seen, then, now = (np.array([record.answer.probability for record in side]) for side in sides)
        told = 0.0 if reference else told_apart(membership_metrics(log, None, MEMBERS, HOLDOUT))
        return cls(seen, then, now, paired=reference is not None, told=told)

    def is_beyond(self) -> bool | None:
        """Whether too much is forgotten rather than too little; None where the probabilities say so and membership
        inference says otherwise."""
        beyond = self.over() > self.short()
        return None if beyond and self.told else beyond

    def over(self) -> float:
        """How far too much is forgotten; negative where it is not enough."""
        return float(self.before.mean() - self.seen.mean())

    def short(self) -> float:
        """How far too little is forgotten; negative where it is too much."""
        return float(self.seen.mean() - self.now.mean())

    def left(self, start: float) -> float:
        """The part of the way, on the logarithm, that is left from `start` to what the verdict takes for forgotten: the
        upper end of the 95 % interval of what was never seen. From 0 to 1; 0 where nothing is, or there was no way.

        start: the mean probability of the forget answers before
        """
        seen, limit = float(self.seen.mean()), self.limit
        if not 0 < limit < min(seen, start):
            return 0.0
        return min(math.log(seen / limit) / math.log(start / limit), 1.0)

    @property
    def limit(self) -> float:
        """What the mean probability is not to exceed for the verdict: of a holdout before or now, whichever is more."""
        metric = mean_with_interval(max(self.before, self.now, key=np.mean))
        return metric.value if metric.high is None else metric.high

    def is_near_enough(self) -> bool:
        """Whether so few answers cannot tell it from where it should be, and it is not past that.

        Where unlearning has spoilt the holdout as well its two levels lie apart, and in the middle is as near as it
        gets: `over` and `short` add up to that gap, whatever the rate.
        """
        if self.told or self.seen.mean() > self.limit:
            return False
        middle = min(max((self.over() + self.short()) / 2, 0.0), MOST_ERROR)
        return bool(
            self.over() <= middle + RESOLUTION
            and self.short() <= middle + max(RESOLUTION, min(self.error(), MOST_ERROR))
        )

    def error(self) -> float:
        """The standard error of `short`; infinite where one of the sides is a single answer."""
        sides = [self.seen - self.now] if self.paired else [self.seen, self.now]
        if min(map(len, sides)) < 2:
            return math.inf
        return math.sqrt(sum(side.var(ddof=1) / len(side) for side in sides))


def distance(
    log: EvaluationLog, reference: EvaluationLog | None, before: EvaluationLog | None
) -> dict[str, Metric]:
    """`forget_distance`: how far too much is forgotten, or too little, whichever is more; 0 in between. With the log
    from before: `forget_left`, see `Aim.left`.
    """
    aim = Aim.of(log, reference, before)
    if aim is None:
        return {}
    # What was never seen is the same questions in both, which are drawn together; a reference's are those of the set.
    sides = aim.seen, np.arange(len(aim.before))

    def farther(seen: np.ndarray, rows: np.ndarray, axis: int = -1) -> np.ndarray:
        drawn = rows.astype(int)
        return _farther(seen, aim.before[drawn], aim.now[drawn], axis)

    value = float(_farther(aim.seen, aim.before, aim.now))
    found = {"forget_distance": Metric(value, len(aim.seen), *interval(farther, *sides, paired=aim.paired))}
    if before is not None and before.sets[MEMBERS]:
        start = float(np.mean([record.answer.probability for record in before.sets[MEMBERS]]))
        found["forget_left"] = Metric(aim.left(start), len(aim.seen))
    return found


def _farther(seen: np.ndarray, before: np.ndarray, now: np.ndarray, axis: int = -1) -> np.ndarray:
    over, short = before.mean(axis) - seen.mean(axis), seen.mean(axis) - now.mean(axis)
    return np.maximum(np.maximum(over, short), 0.0)
