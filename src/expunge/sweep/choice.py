"""What came of a trial, which of them is handed over, and which lie on the front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ..benchmarks.halves import choosing_part, questions, reporting_part, score_of
from ..evaluation.log import EvaluationLog
from ..folder.run import RunFolder
from ..folder.sweep import Point, SweepTrial, TrialResult
from ..run.inputs import Inputs
from ..run.result import Run

#: The value that optuna gets of a trial is its score where the utility is kept; else it is under all scores, the
#: higher the more utility is left.
FAR_BELOW = -1000.0


@dataclass(frozen=True)
class Scores:
    """The forget scores of logs of one run's benchmark, by all questions or a half of them.

    seed: of the sweep, which says which half: the same for all trials
    """

    inputs: Inputs
    seed: int

    def choosing(self, log: EvaluationLog, before: EvaluationLog | None) -> float:
        """before: of the run's original"""
        reference = self._reference
        part = choosing_part(log, self.seed)
        return self._score(part, reference and choosing_part(reference, self.seed), before)

    def reporting(self, log: EvaluationLog, before: EvaluationLog | None) -> float | None:
        part, reference = reporting_part(log, self.seed), self._reference
        if part is None:
            return None
        return self._score(part, reference and reporting_part(reference, self.seed), before)

    def every(self, log: EvaluationLog, before: EvaluationLog | None) -> float:
        return self._score(log, self._reference, before)

    @property
    def _reference(self) -> EvaluationLog | None:
        return self.inputs.given_reference_log

    def _score(
        self, log: EvaluationLog, reference: EvaluationLog | None, before: EvaluationLog | None
    ) -> float:
        return score_of(self.inputs.benchmark, log, reference, before, self.inputs.objective.aims)


def result_of(folder: RunFolder, scores: Scores, pruned: bool) -> TrialResult:
    """What came of a trial whose run is over."""
    points = {side: _point(folder, side, scores) for side in ("original", "reference")}
    training = folder.state.training
    course = {
        "epochs": training.epochs if training else None,
        "stopped": training.stopped if training else None,
    }
    if folder.state.ended or training is None:
        return TrialResult(
            state=folder.state.ended or "diverged", score=None, utility=None, **course, **points
        )
    log, before = folder.logs["after"], folder.logs.get("before")
    run = Run(folder.path)
    utility, original = run.utility, run.original_utility
    return TrialResult(
        state="pruned" if pruned else "done",
        choosing=_finite(scores.choosing(log, before)),
        reporting=_finite(scores.reporting(log, before)),
        score=_finite(scores.every(log, before)),
        questions=(questions(log), questions(choosing_part(log, scores.seed))),
        utility=utility,
        share=None if utility is None or not original else utility / original,
        qualified=training.qualified and _is_kept(folder),
        epoch=training.best_epoch,
        **course,
        **points,
    )


def _is_kept(folder: RunFolder) -> bool:
    """Not where the run's verdict, which has all figures, says that the utility is lost: an epoch may have been chosen
    before answers were written."""
    verdict = folder.state.verdict
    return verdict is None or verdict.utility_kept is not False


def _point(folder: RunFolder, side: str, scores: Scores) -> Point | None:
    stage = "before" if side == "original" else side
    metrics = folder.metrics(stage)
    if not metrics:
        return None
    benchmark, recipe = scores.inputs.benchmark, scores.inputs.recipe
    return Point(
        score=_finite(benchmark.score(metrics, scores.inputs.objective.aims)),
        utility=_finite(benchmark.utility(metrics, generated=recipe.evaluation.generate == "every")),
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def worth(choosing: float | None, utility: float | None, qualified: bool) -> float:
    """What optuna compares trials by, at their end and after each epoch; higher is better."""
    if choosing is None or not math.isfinite(choosing):
        return FAR_BELOW - 1
    if qualified:
        return max(choosing, FAR_BELOW + 1)
    return FAR_BELOW + (utility or 0.0)


def best(trials: Sequence[SweepTrial]) -> SweepTrial | None:
    """The 95 % rule: the best score by the choosing questions among the trials that keep the utility.

    Where none does, the one that keeps most. None where no trial left a model; the first of equals.
    """
    there = [(trial, result) for trial in trials if (result := trial.result) and result.choosing is not None]
    if not there:
        return None
    kept = [(trial, result) for trial, result in there if result.qualified]
    if kept:
        return max(kept, key=lambda each: each[1].choosing or 0.0)[0]
    return max(there, key=lambda each: each[1].share or 0.0)[0]


def front(points: Sequence[tuple[float, float]]) -> set[int]:
    """The places of the points that no other one beats in one coordinate without falling behind in the other."""
    return {
        place
        for place, (x, y) in enumerate(points)
        if not any(a >= x and b >= y and (a, b) != (x, y) for a, b in points)
    }


def with_front(trials: Sequence[SweepTrial]) -> list[SweepTrial]:
    """The trials, those marked that lie on the front of utility against forgetting, by all forget questions."""
    there = [
        (trial.number, result.score, result.utility)
        for trial in trials
        if (result := trial.result) and result.score is not None and result.utility is not None
    ]
    marked = {there[place][0] for place in front([(score, utility) for _, score, utility in there])}
    return [trial.model_copy(update={"front": trial.number in marked}) for trial in trials]
