"""ROUGE of answers in any script: the package's own tokenizer knows a–z and 0–9 alone."""

from __future__ import annotations

import pytest
from rouge_score.rouge_scorer import RougeScorer

from expunge.evaluation.log import Likelihood, QuestionRecord
from expunge.evaluation.rouge import rouge_scores
from expunge.evaluation.set_metrics import rouge_recall


@pytest.mark.parametrize(
    ("truth", "written", "recall", "f1"),
    [
        ("Она родилась в Москве.", "Она родилась в Москве", 1.0, 1.0),
        ("Она родилась в Москве.", "ОНА живёт в Париже", 2 / 4, 2 / 4),
        ("東京で生まれた。", "東京です", 3 / 7, 2 * 3 / (7 + 4)),  # every letter is a word
        ("नमस्ते दुनिया", "नमस्ते", 1 / 2, 2 / 3),  # and its vowel signs part of it
        ("Родилась в 1984 году", "1984", 1 / 4, 2 / 5),  # not the number alone
        ("Москва", "the capital", 0.0, 0.0),
    ],
)
def test_another_script_is_parted_into_words(truth: str, written: str, recall: float, f1: float) -> None:
    (score,) = rouge_scores([(truth, written)])
    assert score.rougeL_recall == pytest.approx(recall)
    assert score.rougeL_f1 == pytest.approx(f1)


def test_latin_letters_are_scored_as_published() -> None:
    package = RougeScorer(["rouge1", "rougeL"], use_stemmer=True)
    for truth, written in (
        ("José writes novels about Zürich.", "Jose wrote a novel about Zurich"),
        ("The author of «Война и мир», Leo Tolstoy, was born in 1828.", "Tolstoy, born in 1828"),
        ("42", "It is 42."),
    ):
        (score,), wanted = rouge_scores([(truth, written)]), package.score(truth, written)
        assert score.rouge1_recall == wanted["rouge1"].recall
        assert (score.rougeL_recall, score.rougeL_f1) == (wanted["rougeL"].recall, wanted["rougeL"].fmeasure)


def test_a_truth_without_words_has_no_recall() -> None:
    """As the turn of a conversation that calls a tool and says nothing."""

    def record(truth: str) -> QuestionRecord:
        return QuestionRecord(index=0, answer=Likelihood(1.0, 2), truth=truth, generation="Ada Bo")

    assert rouge_recall("forget", [record(""), record("…"), record("Ada Cy")])["forget_rouge"].value == 0.5
    assert rouge_recall("forget", [record(""), record("Ada Cy")])["forget_rouge"].n == 1
    assert rouge_recall("forget", [record(""), record("½")]) == {}
