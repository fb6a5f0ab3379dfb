"""The metrics that any evaluation set has, whatever the benchmark: functions of its log records, and declarations."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .fluency import ngram_entropy, repetition
from .log import QuestionRecord
from .measures import HIGHER, LOWER, SetMeasure, declare, set_measures
from .metric import Metric, interval, mean_with_interval
from .rouge import generated_pairs, has_words, rouge_scores

#: Average loss, in nats, beyond which a diverged model's perplexity stays at 10¹³⁰: the interval squares and adds it.
LARGEST_LOSS = 300.0


def of_set(name: str, records: Sequence[QuestionRecord], kinds: Sequence[SetMeasure]) -> dict[str, Metric]:
    """`{name}_{kind}` of the records of a set; a figure that no record holds has no metric."""
    if not records:
        return {}
    metrics = {f"{name}_{kind.name}": kind.function(records) for kind in kinds if kind.function}
    return {metric: value for metric, value in metrics.items() if value is not None}


def with_added(metrics: dict[str, Metric], sets: Mapping[str, Sequence[QuestionRecord]]) -> dict[str, Metric]:
    """A benchmark's `metrics`, and for every set of its log those of users' packages that are computed everywhere."""
    kinds = [kind for kind in set_measures() if kind.everywhere]
    added: dict[str, Metric] = {}
    for name, records in sets.items():
        added |= of_set(name, records, kinds)
    return metrics | {name: value for name, value in added.items() if name not in metrics}


def answer_metrics(name: str, records: Sequence[QuestionRecord]) -> dict[str, Metric]:
    """How well the model knows a set, from one teacher-forced pass; a figure that no record holds has no metric.

    {name}_probability:         mean exp(−average loss)
    {name}_exact_memorization:  mean share of answer tokens that are the model's first choice
    {name}_extraction_strength: mean 1 − k/T (see `AnswerLoss`)
    {name}_perplexity:          exp(Σ loss / Σ label tokens) over the whole set, with an interval over its records
    """
    return of_set(name, records, ANSWER)


def rouge_recall(name: str, records: Sequence[QuestionRecord]) -> dict[str, Metric]:
    """{name}_rouge: mean ROUGE-L recall of the generations against the truth; nothing where there are none."""
    return of_set(name, records, [ROUGE])


def fluency_metrics(name: str, records: Sequence[QuestionRecord]) -> dict[str, Metric]:
    """The fluency of the generations, where there are any (see `fluency`).

    {name}_repetition:    mean share of 4-grams that are said again, over the texts of four words or more
    {name}_ngram_entropy: mean entropy of 2-grams and 3-grams, in bits
    """
    return of_set(name, records, FLUENCY)


def perplexity(records: Sequence[QuestionRecord]) -> Metric:
    """exp(Σ loss / Σ label tokens) over all records, EOS counted where it is a label; n is the number of records."""
    losses = np.array([record.answer.loss for record in records])
    tokens = np.array([record.answer.tokens for record in records], dtype=np.float64)
    value = float(_perplexity(losses, tokens))
    return Metric(value, len(records), *interval(_perplexity, losses, tokens, paired=True))


def _perplexity(losses: np.ndarray, tokens: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.exp(np.minimum(losses.sum(axis) / tokens.sum(axis), LARGEST_LOSS))


def _mean(
    value: Callable[[QuestionRecord], float | None],
) -> Callable[[Sequence[QuestionRecord]], Metric | None]:
    """The mean over the records that hold `value`, with its interval; None where none does."""

    def mean(records: Sequence[QuestionRecord]) -> Metric | None:
        known = [held for held in map(value, records) if held is not None]
        return mean_with_interval(known) if known else None

    return mean


def _rouge(records: Sequence[QuestionRecord]) -> Metric | None:
    scores = rouge_scores(pair for pair in generated_pairs(records) if has_words(pair[0]))
    return mean_with_interval([score.rougeL_recall for score in scores]) if scores else None


def _of_generation(value: Callable[[str], float | None]) -> Callable[[QuestionRecord], float | None]:
    return lambda record: None if record.generation is None else value(record.generation)


PROBABILITY = SetMeasure(
    "probability",
    label="probability of the answer",
    better=HIGHER,
    term="Probability of the answer",
    words="How sure the model is of the true answer, word for word: 1 is known by heart.",
    role="memory",
    place=100,
    forgetting="falls",
    function=_mean(lambda record: record.answer.probability),
    everywhere=False,
)
ROUGE = SetMeasure(
    "rouge",
    label="ROUGE-L recall",
    better=HIGHER,
    term="ROUGE-L recall",
    words="How much of the true answer is, in the same order, in what the model writes itself: 1 is all of it.",
    role="memory",
    place=110,
    forgetting="falls",
    generated=True,
    function=_rouge,
    everywhere=False,
)
EXACT_MEMORIZATION = SetMeasure(
    "exact_memorization",
    label="exact memorisation",
    better=HIGHER,
    term="Exact memorisation",
    words="The share of the true answer's tokens (pieces of words) that are the model's first choice, each after the "
    "true ones before it.",
    role="memory",
    place=130,
    forgetting="falls",
    function=_mean(lambda record: record.memorized),
    everywhere=False,
)
EXTRACTION_STRENGTH = SetMeasure(
    "extraction_strength",
    label="extraction strength",
    better=HIGHER,
    term="Extraction strength",
    words="How little of the true answer must be given until the model writes the rest of it by itself: 1 is none, "
    "0 is all.",
    role="memory",
    place=140,
    forgetting="falls",
    function=_mean(lambda record: record.strength),
    everywhere=False,
)
PERPLEXITY = SetMeasure(
    "perplexity",
    label="perplexity",
    better=LOWER,
    term="Perplexity",
    words="How much a text surprises the model: 1 is not at all; the larger, the more.",
    role="memory",
    place=170,
    forgetting="rises",
    function=perplexity,
    everywhere=False,
)
REPETITION = SetMeasure(
    "repetition",
    label="repeated 4-grams in generations",
    better=LOWER,
    term="Repeated 4-grams",
    words="The share of four-word stretches of what the model writes that it has written before: it grows where a "
    "model loses its language.",
    role="fluency",
    place=180,
    generated=True,
    function=_mean(_of_generation(repetition)),
    everywhere=False,
)
NGRAM_ENTROPY = SetMeasure(
    "ngram_entropy",
    label="n-gram entropy of generations",
    unit="bits",
    better=HIGHER,
    term="n-gram entropy",
    words="How varied what the model writes is: it falls where a model repeats itself.",
    role="fluency",
    place=190,
    generated=True,
    function=_mean(_of_generation(ngram_entropy)),
    everywhere=False,
)
ANSWER = (PROBABILITY, EXACT_MEMORIZATION, EXTRACTION_STRENGTH, PERPLEXITY)
FLUENCY = (REPETITION, NGRAM_ENTROPY)

for measure in (
    *ANSWER,
    ROUGE,
    *FLUENCY,
    # The verdict may rest on these, the best first.
    PROBABILITY.of("forget", preference=10, phrase="mean probability of the forget answers"),
    EXACT_MEMORIZATION.of("forget", preference=20, phrase="exact memorisation"),
    EXTRACTION_STRENGTH.of("forget", preference=30, phrase="extraction strength"),
    ROUGE.of("forget", preference=60, phrase="ROUGE of the generated answers"),
    PROBABILITY.of("retain", preference=30, phrase="mean probability of the retain answers"),
):
    declare(measure)
