"""TOFU's metrics (Maini et al. 2024) as functions of evaluation logs.

Every likelihood is length-normalised and counts EOS wherever the log's losses do; ours do.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy  # its parts are loaded when they are first used

from ...errors import InputError, Problem, nearest
from ...evaluation.log import EvaluationLog, QuestionRecord
from ...evaluation.membership import PRIVACY_ATTACK, membership_metrics
from ...evaluation.metric import Metric, interval, mean_with_interval
from ...evaluation.rouge import generated_pairs, rouge_scores
from ...evaluation.set_metrics import answer_metrics, fluency_metrics

#: Changes when the same log would give other figures.
METRIC_VERSION = "1"

#: Sets whose records Forget Quality compares with those of a reference.
COMPARED = ("forget",)

#: Average losses of a question's wrong answers, (k,) → log p(wrong).
TRUTH_RATIOS: Mapping[str, Callable[[np.ndarray], float]] = {
    "geometric": lambda losses: float(-losses.mean()),
    "arithmetic": lambda losses: float(scipy.special.logsumexp(-losses) - math.log(len(losses))),
}

#: Sets whose probability is normalised over the right and the wrong answers.
MULTIPLE_CHOICE = ("real_authors", "world_facts")
#: A set that the model never saw: an open-unlearning log holds it for membership inference; no TOFU metric uses it.
HOLDOUT = "holdout"
UTILITY_SETS = ("retain", "real_authors", "world_facts")
TEACHER_FORCED = ("probability", "truth_ratio")


def wrong_log_probability(kind: str) -> Callable[[np.ndarray], float]:
    """The entry of `TRUTH_RATIOS`; raises InputError for an unknown name."""
    if kind not in TRUTH_RATIOS:
        reason = f"there is no truth ratio {kind!r}."
        raise InputError(Problem("truth_ratio", reason, nearest(kind, TRUTH_RATIOS)))
    return TRUTH_RATIOS[kind]


def log_truth_ratios(records: Sequence[QuestionRecord], kind: str = "geometric") -> np.ndarray:
    """log R per question, (n,) fp64.

    R = p(wrong) / p(paraphrased), with p(answer) below where there is no paraphrase. p is exp(−average loss);
    `geometric` takes the geometric mean of the wrong answers' p, as the published tables do, `arithmetic`
    their mean. In logarithms R neither over- nor underflows in a diverged model.
    """
    wrong = wrong_log_probability(kind)
    return np.array(
        [
            wrong(_average_losses(record)) + (record.paraphrased or record.answer).average_loss
            for record in records
        ]
    )


def forget_log_ratios(log: EvaluationLog) -> np.ndarray:
    """log R of every forget question with wrong answers (see `log_truth_ratios`), (n,) fp64; n = 0 without any."""
    records = [record for record in log.sets.get("forget", []) if record.perturbed]
    return log_truth_ratios(records, log.data.get("truth_ratio") or "geometric")


#: Two p-values under this: the truth ratios are spread more widely than the reference's.
BOTH_SIDES = 0.05


@dataclass(frozen=True)
class Shift:
    """The p-values of one-sided KS tests: on which side of the reference's truth ratios those of a model lie.

    short:  small when ratios are smaller than the reference's: the right answers are still preferred
    beyond: small when ratios are larger than the reference's: the right answers are avoided
    """

    short: float
    beyond: float

    @property
    def is_beyond(self) -> bool | None:
        """On which side most of them lie; None where some lie clearly on either."""
        if max(self.short, self.beyond) < BOTH_SIDES or self.short == self.beyond:
            return None
        return self.beyond < self.short


def shift(log_ratios: np.ndarray, reference: np.ndarray) -> Shift | None:
    """Compare log R (n,) of a model with log R (m,) of the reference; None where either has no finite value."""
    ours, theirs = log_ratios[np.isfinite(log_ratios)], reference[np.isfinite(reference)]
    if not len(ours) or not len(theirs):
        return None
    # scipy's `greater`: the distribution function of the first lies above, so its values are smaller.
    short = scipy.stats.ks_2samp(ours, theirs, alternative="greater").pvalue
    beyond = scipy.stats.ks_2samp(ours, theirs, alternative="less").pvalue
    return Shift(float(short), float(beyond))


def probabilities(name: str, records: Sequence[QuestionRecord]) -> np.ndarray:
    """Per question, (n,): p of the answer; for real authors and world facts p / (p + Σ p of the wrong)."""
    if name not in MULTIPLE_CHOICE:
        return np.array([record.answer.probability for record in records])
    choices = (np.array([record.answer.average_loss, *_average_losses(record)]) for record in records)
    return np.array([math.exp(scipy.special.log_softmax(-losses)[0]) for losses in choices])


def truth_ratio_scores(name: str, log_ratios: np.ndarray) -> np.ndarray:
    """Per question, (n,): min(R, 1/R) on the forget set, max(0, 1 − R) on the others."""
    if name == "forget":
        return np.exp(-np.abs(log_ratios))
    return np.maximum(0.0, -np.expm1(np.minimum(log_ratios, 0.0)))


def forget_quality(
    log: EvaluationLog, reference: EvaluationLog, truth_ratio: str = "geometric"
) -> dict[str, Metric]:
    """Kolmogorov-Smirnov test between the R of the forget questions of a model and of the retain model.

    Returns forget_quality (the p-value), forget_quality_log10 and forget_quality_ks (the statistic).
    Raises InputError where the logs do not hold equally many forget questions, on whose number p depends, or only one
    holds paraphrased answers, on which R rests.
    """
    ours, theirs = (log_truth_ratios(part.sets.get("forget", ()), truth_ratio) for part in (log, reference))
    n = len(ours)
    if n != len(theirs) or n == 0:
        reason = (
            f"{log.label} holds {n} forget questions and the reference {reference.label} {len(theirs)}; "
            "p-values depend on that number."
        )
        raise InputError(
            Problem("forget quality", reason, "Evaluate both models on the same forget questions.")
        )
    bare = [
        part.label
        for part in (log, reference)
        if any(record.paraphrased is None for record in part.sets["forget"])
    ]
    if len(bare) == 1:
        reason = f"of the two logs {bare[0]} alone holds no paraphrased answers, so its truth ratio rests on others."
        raise InputError(
            Problem("forget quality", reason, "Evaluate both models on the same files of forget questions.")
        )
    # The test sees only the order of the values, so log R serves as well as R.
    test = scipy.stats.ks_2samp(ours, theirs)
    p = float(test.pvalue)
    # A p-value under the smallest float is given that float's logarithm, −307.65.
    logarithm = math.log10(max(p, sys.float_info.min)) if not math.isnan(p) else math.nan
    return {
        "forget_quality": Metric(p, n),
        "forget_quality_log10": Metric(logarithm, n),
        "forget_quality_ks": Metric(float(test.statistic), n),
    }


def tofu_metrics(
    log: EvaluationLog, reference: EvaluationLog | None = None, truth_ratio: str = "geometric"
) -> dict[str, Metric]:
    """Every metric that the log holds the numbers for, by name.

    {set}_probability, {set}_truth_ratio and, where all is generated, {set}_rouge (ROUGE-L recall) for every set;
    what the forget set has of `answer_metrics` and `fluency_metrics`, its perplexity where the log counts tokens;
    `membership_metrics` where the log holds scores of the forget set and of a holdout;
    model_utility, the harmonic mean of the nine of retain, real authors and world facts;
    model_utility_teacher_forced, that of the six that need no generation; forget quality with a reference.
    """
    values: dict[str, np.ndarray] = {}
    for name, records in log.sets.items():
        if not records or name == HOLDOUT:
            continue
        values[f"{name}_probability"] = probabilities(name, records)
        values[f"{name}_truth_ratio"] = truth_ratio_scores(name, log_truth_ratios(records, truth_ratio))
        scores = rouge_scores(generated_pairs(records))
        if len(scores) == len(records):
            values[f"{name}_rouge"] = np.array([score.rougeL_recall for score in scores])
    metrics = {name: mean_with_interval(column) for name, column in values.items()}
    metrics |= _of_forget_set(log.sets.get("forget", []))
    metrics |= _harmonic_mean("model_utility_teacher_forced", values, TEACHER_FORCED)
    metrics |= _harmonic_mean("model_utility", values, (*TEACHER_FORCED, "rouge"))
    if reference is not None:
        metrics |= forget_quality(log, reference, truth_ratio)
    return metrics | _membership(log, reference)


def _of_forget_set(records: Sequence[QuestionRecord]) -> dict[str, Metric]:
    metrics = answer_metrics("forget", records) | fluency_metrics("forget", records)
    # A log of open-unlearning counts every answer as one token, so nothing weighs the answers by their length.
    if all(record.answer.tokens == 1 for record in records):
        metrics.pop("forget_perplexity", None)
    return metrics


def _membership(log: EvaluationLog, reference: EvaluationLog | None) -> dict[str, Metric]:
    """Privacy leakage is that beside the reference, if one is given, and is left out where that holds no scores."""
    if not _attacked(log):
        return {}
    beside = reference if reference is not None and _attacked(reference) else None
    metrics = membership_metrics(log, beside, "forget", HOLDOUT)
    if reference is not beside:
        del metrics["privacy_leakage"]
    return metrics


def _attacked(log: EvaluationLog) -> bool:
    sides = [log.sets.get(name, []) for name in ("forget", HOLDOUT)]
    return all(side and all(PRIVACY_ATTACK in record.scores for record in side) for side in sides)


def _harmonic_mean(name: str, values: Mapping[str, np.ndarray], kinds: Sequence[str]) -> dict[str, Metric]:
    """The harmonic mean of the sets' means; nothing where one is missing. The interval resamples questions by set."""
    parts = [[f"{part}_{kind}" for kind in kinds] for part in UTILITY_SETS]
    if any(column not in values for part in parts for column in part):
        return {}
    tables = [np.stack([values[column] for column in part]) for part in parts]

    def utility(*questions: np.ndarray, axis: int = -1) -> np.ndarray:
        """questions: for every set the numbers of the questions that are drawn, (…, n)"""
        drawn = (table[:, chosen.astype(int)] for table, chosen in zip(tables, questions, strict=True))
        return scipy.stats.hmean(np.concatenate([answers.mean(axis) for answers in drawn]), axis=0)

    questions = [np.arange(table.shape[1]) for table in tables]
    return {
        name: Metric(float(utility(*questions)), sum(map(len, questions)), *interval(utility, *questions))
    }


def _average_losses(record: QuestionRecord) -> np.ndarray:
    return np.array([wrong.average_loss for wrong in record.perturbed])
