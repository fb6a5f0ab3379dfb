"""open-unlearning's `TOFU_EVAL.json` (github.com/locuslab/open-unlearning), read and written.

A metric is `{"agg_value": …, "value_by_index": {"0": {…}, …}}`. The format holds average losses without token
counts, so an answer is read as one token with that loss.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ..log import EvaluationLog, Likelihood, QuestionRecord
from ..rouge import generated_pairs, rouge_scores
from .metrics import MULTIPLE_CHOICE, log_truth_ratios, probabilities, tofu_metrics, truth_ratio_scores

#: Evaluation set → the prefix of its metrics.
PREFIXES = {"forget": "forget", "retain": "retain", "real_authors": "ra", "world_facts": "wf"}


def open_unlearning_records(content: Mapping[str, Any], prefix: str) -> list[QuestionRecord]:
    """The questions of the set whose metrics begin with `prefix`."""

    def column(metric: str) -> Mapping[str, Any]:
        return content.get(f"{prefix}_Q_A_{metric}", {}).get("value_by_index", {})

    paraphrased, texts = column("PARA_Prob"), column("ROUGE")
    return [
        QuestionRecord(
            index=int(index),
            answer=Likelihood(answer["avg_loss"], 1),
            paraphrased=Likelihood(paraphrased[index]["avg_loss"], 1) if paraphrased else None,
            perturbed=tuple(Likelihood(loss, 1) for loss in column("PERT_Prob")[index]["avg_loss"]),
            generation=texts[index]["generation"] if texts else None,
            truth=texts[index]["ground_truth"] if texts else None,
        )
        for index, answer in column("Prob").items()
    ]


def to_open_unlearning(log: EvaluationLog) -> dict[str, Any]:
    """The log as open-unlearning's `TOFU_EVAL.json`: metric → its aggregate and the values by question.

    The truth ratio is geometric, as theirs is; the forget quality is the one that `log.metrics` holds.
    """
    metrics = tofu_metrics(log)
    found: dict[str, Any] = {}
    for name, prefix in PREFIXES.items():
        records = log.sets.get(name, [])
        if records:
            found |= _exported_set(name, prefix, records)
    forget = [record for record in log.sets.get("forget", []) if record.correct is not None]
    if forget:
        shares = [(record.correct or 0) / record.answer.tokens for record in forget]
        found["exact_memorization"] = _values(forget, "score", shares)
        found["extraction_strength"] = _values(forget, "score", [record.strength for record in forget])
    quality = log.metrics.get("forget_quality")
    utility = metrics.get("model_utility")
    found["forget_quality"] = {"agg_value": quality.value if quality else None}
    found["model_utility"] = {"agg_value": utility.value if utility else None}
    return dict(sorted(found.items()))


def _exported_set(name: str, prefix: str, records: list[QuestionRecord]) -> dict[str, Any]:
    ratios = log_truth_ratios(records)
    truth_ratio = _values(records, "score", np.exp(ratios).tolist())
    truth_ratio["agg_value"] = float(truth_ratio_scores(name, ratios).mean())
    wrong = [[one.average_loss for one in record.perturbed] for record in records]
    found = {
        f"{prefix}_Q_A_Prob": _likelihoods(records, [record.answer.average_loss for record in records]),
        f"{prefix}_Q_A_PERT_Prob": _likelihoods(records, wrong),
        f"{prefix}_truth_ratio" if name == "forget" else f"{prefix}_Truth_Ratio": truth_ratio,
    }
    paraphrased = [record.paraphrased.average_loss for record in records if record.paraphrased]
    if len(paraphrased) == len(records):
        found[f"{prefix}_Q_A_PARA_Prob"] = _likelihoods(records, paraphrased)
    if name in MULTIPLE_CHOICE:
        found[f"{prefix}_Q_A_Prob_normalised"] = _values(
            records, "prob", probabilities(name, records).tolist()
        )
    if all(record.generation is not None and record.truth is not None for record in records):
        found[f"{prefix}_Q_A_ROUGE"] = _rouge(records)
    return found


def _likelihoods(records: list[QuestionRecord], losses: Sequence[Any]) -> dict[str, Any]:
    """`losses` holds a number per question, or a list of numbers."""
    rows = [{"prob": np.exp(-np.asarray(loss)).tolist(), "avg_loss": loss} for loss in losses]
    return _metric(records, rows, [row["prob"] for row in rows])


def _rouge(records: list[QuestionRecord]) -> dict[str, Any]:
    rows = [
        {**asdict(score), "ground_truth": record.truth, "generation": record.generation}
        for record, score in zip(records, rouge_scores(generated_pairs(records)), strict=True)
    ]
    return _metric(records, rows, [row["rougeL_recall"] for row in rows])


def _values(records: list[QuestionRecord], key: str, values: Sequence[Any]) -> dict[str, Any]:
    return _metric(records, [{key: value} for value in values], values)


def _metric(
    records: list[QuestionRecord], rows: Sequence[dict[str, Any]], values: Sequence[Any]
) -> dict[str, Any]:
    by_index = {str(record.index): row for record, row in zip(records, rows, strict=True)}
    return {
        "agg_value": float(np.mean(np.concatenate([np.ravel(v) for v in values]))),
        "value_by_index": by_index,
    }
