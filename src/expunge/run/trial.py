"""One trial of the search for the learning rate: a training from step 0, as far as it is worth its time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from accelerate.utils import broadcast_object_list
from transformers import set_seed

from ..adapters.anchor import load_weights
from ..benchmarks.halves import choosing_part, score_of
from ..evaluation.log import EvaluationLog
from ..folder.epochs import EpochsFolder
from ..folder.state import Trial
from ..models.processes import processes
from ..training.selection import Candidate
from ..training.settings import TrainingPlan
from ..training.tuning import CAME_BACK, LOST_SHARE, NOTHING_LEFT, UNMOVED
from .epochs import candidates, original_utility, train_epochs
from .job import Job


def enough(job: Job) -> float | None:
    """The forget score from which on nothing is left to gain; None where thresholds ask for more than a score."""
    if job.thresholds:  # where they are reached the training ends
        return None
    return job.benchmark.best_score(job.metrics_of_start, job.objective.aims) - job.resolution


def try_rate(job: Job, number: int, rate: float) -> Trial:
    """Train from step 0 at this rate, as far as it is worth its time."""
    plan = job.training.model_copy(update={"learning_rate": rate})
    set_seed(job.recipe.seed)
    load_weights(job.trained, job.folder.initial_adapter)
    leave = partial(_reason_to_leave, job, plan, number)
    stopped = train_epochs(job, plan, job.folder.trial(number), leave)
    found = _trial(job, number, rate, stopped, leave) if job.main_process else None
    if processes().num_processes > 1:  # all go on alike, whatever each would read in the folder by now
        (found,) = broadcast_object_list([found])
    assert found is not None
    return found


def _trial(
    job: Job, number: int, rate: float, stopped: str | None, leave: Callable[[Candidate], str | None]
) -> Trial:
    """What came of a training that has ended, by what it left in its folder."""
    folder = job.folder.trial(number)
    original, measured = original_utility(job), candidates(folder)
    # A loss that is no number ends a training without a row that says so.
    diverged = stopped is not None and (not folder.epochs or folder.epochs[-1].stopped is None)
    kept = bool(measured) and not diverged and measured[-1].qualifies(original)
    if not measured:
        return Trial(learning_rate=rate, state="lost", left=False, stopped=stopped, epochs=0)
    compared = [replace(epoch, forget_score=_compared_score(job, folder, epoch)) for epoch in measured]
    choice, strict = (job.method.choose(compared, original, width) for width in (job.resolution, 0.0))
    # Where no epoch forgets anything, the last one says how far the rate went.
    best, nearest = (
        next((epoch for epoch in compared if epoch.epoch == each.epoch), compared[-1])
        for each in (choice, strict)
    )
    return Trial(
        learning_rate=rate,
        state="kept" if kept else "lost",
        left=leave(measured[-1]) is not None,
        stopped=stopped,
        epochs=measured[-1].epoch,
        best_epoch=choice.epoch,
        forget_score=best.forget_score,
        utility=None if math.isnan(best.utility) else best.utility,
        qualified=choice.qualified,
        best_score=nearest.forget_score if strict.qualified else None,
        beyond=_beyond(job, folder, nearest, compared[-1]),
        near_enough=strict.qualified and _near_enough(job, folder, nearest),
        reached=choice.qualified and best.reached,
    )


def _reason_to_leave(job: Job, plan: TrainingPlan, number: int, epoch: Candidate) -> str | None:
    """Why a trial is not worth its further epochs: it is past its aim with the utility kept; or, once a third of them
    are over, it is so without, has nothing left to gain, has lost much of the utility, moved nothing, or was nearer to
    its aim before, with the utility kept. λ rises and the rate falls, so that what comes back goes on coming back."""
    if epoch.epoch >= plan.epochs:
        return None
    folder = job.folder.trial(number)  # read anew: its epochs are written one by one
    original, early = original_utility(job), epoch.epoch < plan.epochs / 3
    if (epoch.qualifies(original) or not early) and _past_its_aim(job, folder, epoch):
        return "less of the forget set is left than of what was never seen"
    if early:
        return None
    least = enough(job)
    if (
        least is not None
        and epoch.utility >= original  # what is lost of it the later epochs win back
        and epoch.futile is None
        and epoch.forget_score >= least
        and _compared_score(job, folder, epoch) >= least
    ):
        return NOTHING_LEFT
    if epoch.utility < LOST_SHARE * original:
        return f"the utility fell to {epoch.utility / original:.0%} of the original's"
    start = job.benchmark.score(job.metrics_of_start, job.objective.aims)
    if abs(epoch.forget_score - start) < UNMOVED:
        return "the forget score had not moved"
    if job.recipe.stopping.choose == "last":
        return None
    before = [each for each in candidates(folder) if each.epoch < epoch.epoch and each.qualifies(original)]
    best = max((each.forget_score for each in before if each.futile is None), default=-math.inf)
    if best - epoch.forget_score > max(job.resolution, CAME_BACK * (best - start)):
        return "an earlier epoch was nearer to its aim, with the utility kept"
    return None


def _compared_score(job: Job, folder: EpochsFolder, epoch: Candidate) -> float:
    """The epoch's forget score by the questions that trials are compared by."""
    part, reference = _compared_logs(job, folder, epoch)
    return score_of(job.benchmark, part, reference, job.original_log, job.objective.aims)


def _beyond(job: Job, folder: EpochsFolder, nearest: Candidate, last: Candidate) -> bool | None:
    """Whether the trial went too far: its epoch that is nearest to the aim did, or it went on past the aim from there,
    so that smaller steps come nearer. Not far enough it went where the last epoch is short; else nobody knows."""
    if job.objective.aims == "answers":
        return None
    beyond = job.benchmark.beyond(*_compared_logs(job, folder, nearest), job.original_log)
    if beyond or nearest is last:
        return beyond
    return True if _past_its_aim(job, folder, last) else None


def _near_enough(job: Job, folder: EpochsFolder, epoch: Candidate) -> bool:
    if job.objective.aims == "answers":
        return False
    return job.benchmark.near_enough(*_compared_logs(job, folder, epoch), job.original_log)


def _past_its_aim(job: Job, folder: EpochsFolder, epoch: Candidate) -> bool:
    if job.objective.aims == "answers":
        return False
    return job.benchmark.past_its_aim(*_compared_logs(job, folder, epoch), job.original_log)


def _compared_logs(
    job: Job, folder: EpochsFolder, epoch: Candidate
) -> tuple[EvaluationLog, EvaluationLog | None]:
    """The logs of an epoch and of the reference, of the questions that trials are compared by."""
    log, reference = job.benchmark.read_log(folder.evaluation(f"epoch-{epoch.epoch}")), job.reference_log
    seed = job.recipe.seed
    return choosing_part(log, seed), reference and choosing_part(reference, seed)
