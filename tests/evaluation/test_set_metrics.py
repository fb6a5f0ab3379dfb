"""Perplexity and fluency by hand."""

from __future__ import annotations

import math

import pytest

from expunge.evaluation.fluency import ngram_entropy, repetition
from expunge.evaluation.log import Likelihood, QuestionRecord
from expunge.evaluation.set_metrics import answer_metrics, fluency_metrics, perplexity


def records(*losses: tuple[float, int]) -> list[QuestionRecord]:
    return [QuestionRecord(index, Likelihood(*loss)) for index, loss in enumerate(losses)]


def test_perplexity_is_that_of_all_tokens_together():
    """Not the mean of e^1 and e^2: the second text has three of the four tokens."""
    found = perplexity(records((1.0, 1), (6.0, 3)))
    assert (found.value, found.n) == (pytest.approx(math.exp(7 / 4)), 2)
    assert (found.low, found.high) == (pytest.approx(math.e), pytest.approx(math.e**2))
    assert perplexity(records((3.0, 2))).low is None
    assert answer_metrics("retain", records((1.0, 1), (6.0, 3)))["retain_perplexity"] == found


def test_the_interval_of_perplexity_resamples_texts_not_losses_alone():
    """Every text has the same average loss, so every resample has the same perplexity."""
    found = perplexity(records(*[(0.5 * tokens, tokens) for tokens in range(1, 30)]))
    assert (found.low, found.high) == (pytest.approx(found.value), pytest.approx(found.value))


def test_the_perplexity_of_a_diverged_model_is_a_number():
    found = perplexity(records((4000.0, 2), (3000.0, 1)))
    assert (found.value, found.low, found.high) == pytest.approx((math.exp(300),) * 3)


def test_an_empty_set_has_no_metrics():
    assert answer_metrics("retain", []) == {}
    assert fluency_metrics("retain", []) == {}


def test_repetition():
    assert repetition("a b c d e f") == 0.0
    assert repetition("a b a b a b a b") == pytest.approx(1 - 2 / 5)  # abab baba abab baba abab
    assert repetition("no no no no no no no no no no no no no") == pytest.approx(0.9)
    assert repetition("only three words") is None


def test_ngram_entropy():
    """Five different words: 4 different pairs, 3 different triples."""
    assert ngram_entropy("a b c d e") == pytest.approx(math.log2(4) / 3 + 2 * math.log2(3) / 3)
    assert ngram_entropy("a b a b a") == pytest.approx(1 / 3 + 2 / 3 * (math.log2(3) - 2 / 3))
    assert ngram_entropy("no no no no no no") == ngram_entropy("one") == ngram_entropy("") == 0.0


def test_fluency_is_of_the_generations():
    made = [
        QuestionRecord(0, Likelihood(1.0, 1), generation="a b c d e"),
        QuestionRecord(1, Likelihood(1.0, 1), generation="no no no no no"),
        QuestionRecord(2, Likelihood(1.0, 1), generation="short"),
        QuestionRecord(3, Likelihood(1.0, 1), truth="of plain text nothing is generated"),
    ]
    found = fluency_metrics("forget", made)
    assert (found["forget_repetition"].value, found["forget_repetition"].n) == (0.25, 2)
    assert found["forget_ngram_entropy"].value == pytest.approx(ngram_entropy("a b c d e") / 3)
    assert found["forget_ngram_entropy"].n == 3
