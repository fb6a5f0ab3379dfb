"""ROUGE (Lin 2004) as the benchmarks use it: the `rouge_score` package with stemming."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING

from .log import QuestionRecord

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer


@dataclass(frozen=True)
class Rouge:
    """Scores of one generation in [0, 1]. Recall is the share of the truth that the generation contains."""

    rouge1_recall: float
    rougeL_recall: float  # noqa: N815 — ROUGE-L is the field's name, and open-unlearning's key
    rougeL_f1: float  # noqa: N815


def rouge_scores(pairs: Iterable[tuple[str, str]]) -> list[Rouge]:
    """Score pairs of (truth, generation)."""
    return [_score(truth, generation) for truth, generation in pairs]


@cache
def _scorer() -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer  # here for the start-up time: it loads nltk

    return RougeScorer(["rouge1", "rougeL"], use_stemmer=True)


# A log's metrics are asked for more than once, and stemming 800 generations of 200 tokens takes seconds.
@lru_cache(maxsize=4096)
def _score(truth: str, generation: str) -> Rouge:
    score = _scorer().score(truth, generation)
    return Rouge(score["rouge1"].recall, score["rougeL"].recall, score["rougeL"].fmeasure)


def generated_pairs(records: Iterable[QuestionRecord]) -> Iterator[tuple[str, str]]:
    """(truth, generation) of every record that has both."""
    for record in records:
        if record.truth is not None and record.generation is not None:
            yield record.truth, record.generation
