"""A trial's score by a holdout: held against what the original made of it."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest

from expunge.benchmarks.memorization.benchmark import Material, MemorizationBenchmark
from expunge.data.encoding import Example
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.models.answers import IGNORED
from expunge.sweep.choice import Scores, _is_kept


def log(forget: list[float], holdout: list[float]) -> EvaluationLog:
    sets = {
        name: [
            QuestionRecord(row, Likelihood(-math.log(p) * 3, 3), None, scores={"min_k": 0.0})
            for row, p in enumerate(values)
        ]
        for name, values in (("forget", forget), ("holdout", holdout))
    }
    return EvaluationLog("memorization", "1", False, sets)


def test_all_three_scores_are_held_against_the_original() -> None:
    """The holdout is 0.4 before and 0.1 now: 0.2 is too little by 0.2, 0.35 too much by 0.25."""
    benchmark = MemorizationBenchmark([Material(Example([1, 2], [IGNORED, 2]))])
    inputs: Any = SimpleNamespace(
        benchmark=benchmark, objective=SimpleNamespace(aims="probabilities"), given_reference_log=None
    )
    scores, before = Scores(inputs, seed=0), log([0.9] * 40, [0.4] * 4)
    after = log([0.2, 0.35] * 20, [0.1] * 4)
    assert scores.choosing(after, before) == pytest.approx(1 - 0.2)  # the first, third …: 0.2
    assert scores.reporting(after, before) == pytest.approx(1 - 0.25)
    assert scores.every(after, before) == pytest.approx(1 - 0.175)  # the mean of 0.275 is over 0.1 by more
    assert scores.choosing(after, None) == pytest.approx(
        1 - 0.1
    )  # what the model has spoilt itself would be its aim


@pytest.mark.parametrize(("kept", "expected"), [(True, True), (False, False), (None, True)])
def test_a_trial_keeps_the_utility_only_where_its_verdict_does_not_say_otherwise(
    kept: bool | None, expected: bool
) -> None:
    folder: Any = SimpleNamespace(state=SimpleNamespace(verdict=SimpleNamespace(utility_kept=kept)))
    assert _is_kept(folder) is expected
    folder.state.verdict = None  # of a run that gave none
    assert _is_kept(folder)
