"""The nine reasoning sets of TDEC (Jang et al. 2023; LoKU §4.1): what is left of a language model's abilities."""

from __future__ import annotations

from collections.abc import Mapping

from ...evaluation.log import EvaluationLog
from ...evaluation.metric import Metric, mean_of_means
from .benchmark import HarnessBenchmark

SETS = (
    "lambada_openai", "hellaswag", "winogrande", "copa", "arc_easy", "arc_challenge", "piqa", "mathqa", "pubmedqa",
)  # fmt: skip


class ReasoningBenchmark(HarnessBenchmark):
    """The accuracy on every set, and `reasoning_accuracy`: the mean of the nine, which all count the same.

    Prompts and scoring are lm-eval's of today; the papers' own code words some of them differently (PubMedQA, COPA).
    """

    name = "reasoning"

    def __init__(self, include: str | None = None, samples: int | None = None):
        super().__init__(SETS, include, samples)

    def metrics(self, log: EvaluationLog, reference: EvaluationLog | None = None) -> dict[str, Metric]:
        """The metrics of every set, and the mean of their accuracies."""
        metrics = super().metrics(log)
        accuracies = [[record.scores["acc"] for record in log.sets[name]] for name in SETS]
        return {**metrics, "reasoning_accuracy": mean_of_means(accuracies)}

    def utility_metric(self, metrics: Mapping[str, Metric], *, generated: bool) -> str:
        """The mean accuracy."""
        return "reasoning_accuracy"
