"""The metrics that any evaluation set has, whatever the benchmark: functions of its log records."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .fluency import ngram_entropy, repetition
from .log import QuestionRecord
from .metric import Metric, interval, mean_with_interval
from .rouge import generated_pairs, rouge_scores

#: Average loss, in nats, beyond which a diverged model's perplexity stays at 10¹³⁰: the interval squares and adds it.
LARGEST_LOSS = 300.0


def answer_metrics(name: str, records: Sequence[QuestionRecord]) -> dict[str, Metric]:
    """How well a set is known, from one teacher-forced pass; what no record holds has no metric.

    {name}_probability:         mean exp(−average loss)
    {name}_exact_memorization:  mean share of answer tokens that are the model's first choice
    {name}_extraction_strength: mean 1 − k/T (see `AnswerLoss`)
    {name}_perplexity:          exp(Σ loss / Σ label tokens) over the whole set, with an interval over its records
    """
    if not records:
        return {}
    columns: dict[str, Sequence[float | None]] = {
        "probability": [record.answer.probability for record in records],
        "exact_memorization": [record.memorized for record in records],
        "extraction_strength": [record.strength for record in records],
    }
    found = {}
    for metric, column in columns.items():
        known = [value for value in column if value is not None]
        if known:
            found[f"{name}_{metric}"] = mean_with_interval(known)
    return {**found, f"{name}_perplexity": perplexity(records)}


def perplexity(records: Sequence[QuestionRecord]) -> Metric:
    """exp(Σ loss / Σ label tokens) over all records, EOS counted where it is a label; n is the number of records."""
    losses = np.array([record.answer.loss for record in records])
    tokens = np.array([record.answer.tokens for record in records], dtype=np.float64)
    value = float(_perplexity(losses, tokens))
    return Metric(value, len(records), *interval(_perplexity, losses, tokens, paired=True))


def _perplexity(losses: np.ndarray, tokens: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.exp(np.minimum(losses.sum(axis) / tokens.sum(axis), LARGEST_LOSS))


def rouge_recall(name: str, records: Sequence[QuestionRecord]) -> dict[str, Metric]:
    """{name}_rouge: mean ROUGE-L recall of the generations against the truth; nothing where there are none."""
    scores = rouge_scores(generated_pairs(records))
    return {f"{name}_rouge": mean_with_interval([score.rougeL_recall for score in scores])} if scores else {}


def fluency_metrics(name: str, records: Sequence[QuestionRecord]) -> dict[str, Metric]:
    """Of the generations, where there are any (see `fluency`).

    {name}_repetition:    mean share of 4-grams that are said again, over the texts of four words or more
    {name}_ngram_entropy: mean entropy of 2-grams and 3-grams, in bits
    """
    texts = [record.generation for record in records if record.generation is not None]
    if not texts:
        return {}
    repeated = [share for share in map(repetition, texts) if share is not None]
    found = {f"{name}_repetition": mean_with_interval(repeated)} if repeated else {}
    return {**found, f"{name}_ngram_entropy": mean_with_interval([ngram_entropy(text) for text in texts])}
