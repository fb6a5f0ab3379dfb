"""`surprise`: how many bits a token of the answer costs the model; `recall`: the name of the benchmark's figures."""

from __future__ import annotations

import math
from collections.abc import Sequence

from expunge.evaluation.log import QuestionRecord
from expunge.evaluation.measures import SetMeasure
from expunge.evaluation.metric import Metric, mean_with_interval


def bits(records: Sequence[QuestionRecord]) -> Metric | None:
    """Mean over the answers of −log₂ p a token; None for a set whose answers have no tokens."""
    known = [record.answer.average_loss / math.log(2) for record in records if record.answer.tokens]
    return mean_with_interval(known) if known else None


SURPRISE = SetMeasure(
    "surprise",
    label="surprise a token",
    unit="bits",
    better="lower is better",
    term="Surprise",
    words="How many bits a token of the answer costs the model: 0 is known by heart.",
    role="memory",
    forgetting="rises",
    function=bits,
)

RECALL = SetMeasure(
    "recall",
    label="recall of the answer",
    better="higher is better",
    term="Recall",
    words="How sure the model is of the true answer, word for word: 1 is known by heart.",
    role="memory",
    forgetting="falls",
    everywhere=False,  # the benchmark computes it
)
