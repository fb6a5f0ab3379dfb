"""ROUGE (Lin 2004) as the benchmarks use it: the `rouge_score` package with stemming."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from rouge_score.rouge_scorer import RougeScorer

from .log import QuestionRecord


@dataclass(frozen=True)
class Rouge:
    """Scores of one generation in [0, 1]. Recall is the share of the truth that the generation contains."""

    rouge1_recall: float
    rougeL_recall: float  # noqa: N815 — ROUGE-L is the field's name, and open-unlearning's key
    rougeL_f1: float  # noqa: N815


def rouge_scores(pairs: Iterable[tuple[str, str]]) -> list[Rouge]:
    """Score pairs of (truth, generation)."""
    scorer = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    scores = (scorer.score(truth, generation) for truth, generation in pairs)
    return [
        Rouge(score["rouge1"].recall, score["rougeL"].recall, score["rougeL"].fmeasure) for score in scores
    ]


def generated_pairs(records: Iterable[QuestionRecord]) -> Iterator[tuple[str, str]]:
    """(truth, generation) of every record that has both."""
    for record in records:
        if record.truth is not None and record.generation is not None:
            yield record.truth, record.generation
