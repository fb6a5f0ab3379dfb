"""One half of the forget questions chooses among trials, so that the other one tells what the choice is worth."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ..evaluation.log import EvaluationLog
from .benchmark import Benchmark

if TYPE_CHECKING:  # it loads torch
    from ..objectives.loss import Aim

FORGET = "forget"
#: From so many forget questions on, trials are compared by one half of them.
FEWEST_TO_HALVE = 40


def questions(log: EvaluationLog) -> int:
    return len(log.sets.get(FORGET, ()))


def choosing_part(log: EvaluationLog, seed: int) -> EvaluationLog:
    """The log with the forget questions that trials are compared by.

    Of many every other one: the first, third, … of an even seed, the others of an odd one; else all.
    """
    return _every_other(log, seed % 2) if questions(log) >= FEWEST_TO_HALVE else log


def reporting_part(log: EvaluationLog, seed: int) -> EvaluationLog | None:
    """The log with the forget questions that `choosing_part` leaves out; None where it leaves out none."""
    return _every_other(log, (seed + 1) % 2) if questions(log) >= FEWEST_TO_HALVE else None


def score_of(
    benchmark: Benchmark,
    log: EvaluationLog,
    reference: EvaluationLog | None,
    before: EvaluationLog | None,
    aims: Aim,
) -> float:
    """The benchmark's score of a log, or of a part of one against the same part of the reference's."""
    return benchmark.score(benchmark.all_metrics(log, reference, before), aims)


def _every_other(log: EvaluationLog, first: int) -> EvaluationLog:
    return replace(log, sets={**log.sets, FORGET: log.sets[FORGET][first::2]})
