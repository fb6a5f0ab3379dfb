"""What is left of the answers that should stay: by the mean of their probabilities a loss would hide behind a gain."""

from __future__ import annotations

from ...evaluation.log import EvaluationLog
from ...evaluation.metric import Metric, mean_with_interval

#: The set that should stay.
KEPT = "retain"


def kept(log: EvaluationLog, before: EvaluationLog | None) -> dict[str, Metric]:
    """`retain_kept`: mean of min(p, p before) over the retain answers, p = exp(−average loss); of the log from before
    itself it is the mean of p. Nothing where no log is from before, or that one has other answers.

    Training on answers makes all of their form more probable. So the mean may rise by half while a few are lost.
    """
    now, then = log.sets.get(KEPT, []), before.sets.get(KEPT, []) if before else []
    if not now or len(now) != len(then):
        return {}
    least = [
        min(one.answer.probability, other.answer.probability) for one, other in zip(now, then, strict=True)
    ]
    return {"retain_kept": mean_with_interval(least)}
