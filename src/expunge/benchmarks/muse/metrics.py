"""MUSE's metrics (Shi et al. 2025) as functions of evaluation logs.

ROUGE is that of the `rouge_score` package with stemming, as everywhere here; the authors' own code does not stem.
"""

from __future__ import annotations

from collections.abc import Callable

from ...evaluation.log import EvaluationLog
from ...evaluation.membership import membership_metrics
from ...evaluation.metric import Metric, mean_with_interval
from ...evaluation.rouge import Rouge, generated_pairs, rouge_scores
from ...evaluation.set_metrics import answer_metrics, fluency_metrics

#: Changes when the same log would give other figures.
METRIC_VERSION = "1"

#: Metric → the set of the log whose generations it scores, and the figure of ROUGE that it takes.
GENERATED: dict[str, tuple[str, Callable[[Rouge], float]]] = {
    "forget_verbatim_memorization": ("forget_verbatim", lambda score: score.rougeL_f1),
    "forget_knowledge_memorization": ("forget_knowledge", lambda score: score.rougeL_f1),
    "retain_knowledge_memorization": ("retain_knowledge", lambda score: score.rougeL_f1),
    "forget_knowledge_recall": ("forget_knowledge", lambda score: score.rougeL_recall),
    "retain_knowledge_recall": ("retain_knowledge", lambda score: score.rougeL_recall),
}
CONTINUED = ("forget_verbatim", "forget_knowledge", "retain_knowledge")


def muse_metrics(log: EvaluationLog, reference: EvaluationLog | None = None) -> dict[str, Metric]:
    """Every metric that the log holds the numbers for, by name; they lie between 0 and 1 where nothing else is said.

    forget_verbatim_memorization:            VerbMem: mean ROUGE-L F1 of the continuations of passages
    {forget,retain}_knowledge_memorization:  KnowMem: mean ROUGE-L F1 of the answers (what the authors' code reports);
                                             `_knowledge_recall` is ROUGE-L recall, which a long answer does not lower
    privacy_leakage:                         PrivLeak in per cent, against `reference` (see `privacy_leakage`)
    membership_inference_{attack}:           AUC on the forget texts against the holdout
    {set}_{probability,exact_memorization,extraction_strength,perplexity}: of the true continuations and answers
    forget_verbatim_{repetition,ngram_entropy}: fluency of the continuations
    """
    metrics: dict[str, Metric] = {}
    for metric, (name, score) in GENERATED.items():
        scores = rouge_scores(generated_pairs(log.sets[name]))
        if scores:
            metrics[metric] = mean_with_interval([score(rouge) for rouge in scores])
    metrics |= membership_metrics(log, reference, "forget_texts", "holdout_texts")
    for name in CONTINUED:
        metrics |= answer_metrics(name, log.sets[name])
    return metrics | fluency_metrics("forget_verbatim", log.sets["forget_verbatim"])
