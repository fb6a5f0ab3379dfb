"""open-unlearning's `TOFU_EVAL.json` (github.com/locuslab/open-unlearning), read and written.

A metric is `{"agg_value": …, "value_by_index": {"0": {…}, …}}`. The format holds average losses without token
counts, so an answer is read as one token with that loss.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, TypeVar

import numpy as np
from pydantic import Field, StrictFloat

from ...errors import InputError, Problem
from ...evaluation.checked import checked
from ...evaluation.log import MEMORIZED, EvaluationLog, Likelihood, Loss, QuestionRecord
from ...evaluation.membership import auc
from ...evaluation.rouge import generated_pairs, rouge_scores
from .metrics import (
    HOLDOUT,
    MULTIPLE_CHOICE,
    log_truth_ratios,
    probabilities,
    tofu_metrics,
    truth_ratio_scores,
)

#: Evaluation set → the prefix of its metrics.
PREFIXES = {"forget": "forget", "retain": "retain", "real_authors": "ra", "world_facts": "wf"}
STRENGTH = "extraction_strength"
#: Sets whose truth ratio rests on the paraphrased answer, the others' on the answer itself.
PARAPHRASED = ("forget", "retain")
#: Metric → the attack whose scores it holds, of members lower where ours are higher.
ATTACKS = {
    "mia_loss": "loss",
    "mia_zlib": "zlib",
    "mia_min_k": "min_k",
    "mia_min_k_plus_plus": "min_k_plus_plus",
    "mia_gradnorm": "gradient_norm",
    "mia_reference": "reference",
}
#: The logarithm of a ratio beyond which a diverged model's stays at 10³⁰⁴: JSON has no infinity.
LARGEST = 700.0
AGAIN = "Give the TOFU_EVAL.json that open-unlearning wrote, with the values of every question."

Row = TypeVar("Row")


@dataclass(frozen=True)
class _Answer:
    avg_loss: Loss


@dataclass(frozen=True)
class _WrongAnswers:
    avg_loss: Annotated[list[Loss], Field(min_length=1)]


@dataclass(frozen=True)
class _Texts:
    generation: str
    ground_truth: str


@dataclass(frozen=True)
class _Score:
    score: StrictFloat


@dataclass(frozen=True)
class _Share:
    """None where the answer has no tokens."""

    score: Annotated[StrictFloat, Field(ge=0, le=1)] | None


@dataclass(frozen=True)
class _Metrics:
    """The content of a file, and the name that messages call it by."""

    content: Mapping[str, Any]
    where: str

    def values(
        self, kind: type[Row], metric: str, side: str | None = None, like: Iterable[int] | None = None
    ) -> dict[int, Row]:
        """Index of a question → its row of `metric` (of membership inference: of one `side`).

        Raises InputError naming metric and question where there are none, or not those of `like`.
        """
        entry = self.content.get(metric)
        place = f"{self.where}: {metric}"
        if side is not None:
            entry, place = (entry.get(side) if isinstance(entry, dict) else None), f"{place}.{side}"
        if not isinstance(entry, dict) or not entry.get("value_by_index"):
            raise InputError(Problem(place, "it holds no value_by_index.", AGAIN))
        rows: dict[int, Row] = checked(
            dict[int, kind],  # type: ignore[valid-type]
            entry["value_by_index"],
            f"{place}.value_by_index",
            AGAIN,
        )
        apart = sorted(rows.keys() ^ set(rows if like is None else like))
        if apart:
            reason = f"question {apart[0]} is not in both this and the other metrics of its set."
            raise InputError(Problem(f"{place}.value_by_index", reason, AGAIN))
        return rows


def open_unlearning_sets(content: Mapping[str, Any], where: str) -> dict[str, list[QuestionRecord]]:
    """The sets whose probabilities the log holds, and the holdout of its membership inference.

    Raises InputError naming `where`, the metric and the question for what is missing or damaged.
    """
    metrics = _Metrics(content, where)
    sets = {
        name: _records(metrics, name) for name, prefix in PREFIXES.items() if f"{prefix}_Q_A_Prob" in content
    }
    attacks = [metric for metric in ATTACKS if metric in content]
    if "forget" in sets and attacks:
        forget = [record.index for record in sets["forget"]]
        scores = _attack_scores(metrics, attacks, "forget", forget)
        sets["forget"] = [
            replace(record, scores={**record.scores, **scores[record.index]}) for record in sets["forget"]
        ]
        sets[HOLDOUT] = [
            # No other metric is of the holdout: without this attack its likelihood is empty.
            QuestionRecord(
                index,
                Likelihood(-by_attack["loss"], 1) if "loss" in by_attack else Likelihood(0.0, 0),
                scores=by_attack,
            )
            for index, by_attack in _attack_scores(metrics, attacks, "holdout").items()
        ]
    return sets


def _records(metrics: _Metrics, name: str) -> list[QuestionRecord]:
    prefix = f"{PREFIXES[name]}_Q_A"
    answers = metrics.values(_Answer, f"{prefix}_Prob")
    wrong = metrics.values(_WrongAnswers, f"{prefix}_PERT_Prob", like=answers)

    def there(kind: type[Row], metric: str, needed: bool = False) -> dict[int, Row]:
        return metrics.values(kind, metric, like=answers) if needed or metric in metrics.content else {}

    paraphrased = there(_Answer, f"{prefix}_PARA_Prob", needed=name in PARAPHRASED)
    texts = there(_Texts, f"{prefix}_ROUGE")
    shares = there(_Share, MEMORIZED) if name == "forget" else {}
    memorized = {index: {MEMORIZED: row.score} for index, row in shares.items() if row.score is not None}
    strength = there(_Share, STRENGTH) if name == "forget" else {}
    return [
        QuestionRecord(
            index=index,
            answer=Likelihood(answer.avg_loss, 1),
            paraphrased=Likelihood(paraphrased[index].avg_loss, 1) if paraphrased else None,
            perturbed=tuple(Likelihood(loss, 1) for loss in wrong[index].avg_loss),
            generation=texts[index].generation if texts else None,
            truth=texts[index].ground_truth if texts else None,
            strength=strength[index].score if strength else None,
            scores=memorized.get(index, {}),
        )
        for index, answer in answers.items()
    ]


def _attack_scores(
    metrics: _Metrics, attacks: Sequence[str], side: str, like: Iterable[int] | None = None
) -> dict[int, dict[str, float]]:
    """Index of a sample → its score by attack, higher for what looks like a member."""
    scores: dict[int, dict[str, float]] = {}
    for metric in attacks:
        rows = metrics.values(_Score, metric, side, like)
        like = rows
        for index, row in rows.items():
            scores.setdefault(index, {})[ATTACKS[metric]] = -row.score
    return scores


def to_open_unlearning(log: EvaluationLog) -> dict[str, Any]:
    """The log as open-unlearning's `TOFU_EVAL.json`: metric → its aggregate and the values by question.

    The truth ratio is geometric, as theirs is; forget quality and privacy leakage are those that `log.metrics` holds.
    """
    metrics = tofu_metrics(log)
    exported: dict[str, Any] = {}
    for name, prefix in PREFIXES.items():
        records = log.sets.get(name, [])
        if records:
            exported |= _exported_set(name, prefix, records)
    forget = log.sets.get("forget", [])
    for metric, shares in {
        MEMORIZED: [record.memorized for record in forget],
        STRENGTH: [record.strength for record in forget],
    }.items():
        if any(share is not None for share in shares):
            exported[metric] = _values(forget, "score", shares)
    if HOLDOUT in log.sets:
        exported |= _exported_attacks(forget, log.sets[HOLDOUT])
    leakage = log.metrics.get("privacy_leakage")
    if leakage:
        exported["privleak"] = {"agg_value": leakage.value}
    quality = log.metrics.get("forget_quality")
    utility = metrics.get("model_utility")
    exported["forget_quality"] = {"agg_value": quality.value if quality else None}
    exported["model_utility"] = {"agg_value": utility.value if utility else None}
    return dict(sorted(exported.items()))


def _exported_set(name: str, prefix: str, records: list[QuestionRecord]) -> dict[str, Any]:
    ratios = log_truth_ratios(records)
    truth_ratio = _values(records, "score", np.exp(np.minimum(ratios, LARGEST)).tolist())
    truth_ratio["agg_value"] = float(truth_ratio_scores(name, ratios).mean())
    wrong = [[one.average_loss for one in record.perturbed] for record in records]
    exported = {
        f"{prefix}_Q_A_Prob": _likelihoods(records, [record.answer.average_loss for record in records]),
        f"{prefix}_Q_A_PERT_Prob": _likelihoods(records, wrong),
        f"{prefix}_truth_ratio" if name == "forget" else f"{prefix}_Truth_Ratio": truth_ratio,
    }
    paraphrased = [record.paraphrased.average_loss for record in records if record.paraphrased]
    if len(paraphrased) == len(records):
        exported[f"{prefix}_Q_A_PARA_Prob"] = _likelihoods(records, paraphrased)
    if name in MULTIPLE_CHOICE:
        exported[f"{prefix}_Q_A_Prob_normalised"] = _values(
            records, "prob", probabilities(name, records).tolist()
        )
    if all(record.generation is not None and record.truth is not None for record in records):
        exported[f"{prefix}_Q_A_ROUGE"] = _rouge(records)
    return exported


def _exported_attacks(forget: list[QuestionRecord], holdout: list[QuestionRecord]) -> dict[str, Any]:
    exported = {}
    for metric, attack in ATTACKS.items():
        if all(attack in record.scores for record in (*forget, *holdout)):
            scores = [[record.scores[attack] for record in side] for side in (forget, holdout)]
            area = auc(*scores).value
            sides = {
                name: _values(side, "score", [-score for score in values])
                for name, side, values in zip(("forget", HOLDOUT), (forget, holdout), scores, strict=True)
            }
            exported[metric] = {**sides, "auc": area, "agg_value": area}
    return exported


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
        "agg_value": float(np.mean(np.concatenate([np.ravel(v) for v in values if v is not None]))),
        "value_by_index": by_index,
    }
