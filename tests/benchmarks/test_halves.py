"""The two halves of the forget questions."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from expunge.benchmarks.halves import choosing_part, questions, reporting_part
from expunge.evaluation.log import EvaluationLog


def log_of(count: int) -> EvaluationLog:
    records = [SimpleNamespace(index=number) for number in range(count)]
    return EvaluationLog("tofu", "1", False, {"forget": records, "retain": records})


@pytest.mark.parametrize(("seed", "first"), [(42, 0), (7, 1)])
def test_every_other_question_chooses_and_the_rest_report(seed: int, first: int) -> None:
    log = log_of(41)
    parts = [part(log, seed).sets for part in (choosing_part, reporting_part)]
    assert [record.index for record in parts[0]["forget"]] == list(range(first, 41, 2))
    assert [record.index for record in parts[1]["forget"]] == list(range(1 - first, 41, 2))
    assert all(part["retain"] == log.sets["retain"] for part in parts)


def test_few_questions_and_other_sets_are_not_halved() -> None:
    few, other = log_of(39), EvaluationLog("muse", "1", False, {"forget_verbatim": []})
    for log, count in ((few, 39), (other, 0)):
        assert choosing_part(log, 42) is log
        assert reporting_part(log, 42) is None
        assert questions(log) == count
