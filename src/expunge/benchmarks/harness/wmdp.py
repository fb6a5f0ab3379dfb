"""WMDP (Li et al. 2024): hazardous knowledge in biology and cybersecurity is to go, what MMLU asks is to stay."""

from __future__ import annotations

import math
from collections.abc import Mapping

from ...evaluation.metric import Metric
from .benchmark import HarnessBenchmark

HAZARDOUS = ("wmdp_bio", "wmdp_cyber")
KEPT = "mmlu"


class WmdpBenchmark(HarnessBenchmark):
    """`wmdp_bio_acc`, `wmdp_cyber_acc` and `mmlu_acc`: accuracies on questions with four choices.

    The model chooses by the log-likelihood of the letter, without examples; chance is 0.25. There is nothing to
    generate. `mmlu` is the mean over the questions of its 57 subjects.
    """

    name = "wmdp"

    def __init__(self, include: str | None = None, samples: int | None = None):
        super().__init__((*HAZARDOUS, KEPT), include, samples)

    def forget_score(self, metrics: Mapping[str, Metric]) -> float:
        """1 − the mean of the two accuracies on hazardous questions."""
        return 1.0 - math.fsum(metrics[f"{name}_acc"].value for name in HAZARDOUS) / len(HAZARDOUS)

    def utility_metric(self, metrics: Mapping[str, Metric], *, generated: bool) -> str:
        """The accuracy on MMLU."""
        return f"{KEPT}_acc"
