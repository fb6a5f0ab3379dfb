"""`training.learning_rate: auto`: trials at one rate after another, and the best of them taken over as the training."""

from __future__ import annotations

import gc
import math
import os
import shutil
from dataclasses import replace
from functools import partial

from transformers import set_seed

from ..adapters.anchor import load_weights
from ..benchmarks.halves import choosing_part, questions, score_of
from ..evaluation.log import EvaluationLog
from ..folder.epochs import EpochsFolder
from ..folder.state import Trial, TuningFacts
from ..models.processes import processes
from ..progress import say
from ..storage import atomic_file, recorded
from ..training.learning_rates import typical_factor
from ..training.selection import Candidate
from ..training.settings import TrainingPlan
from ..training.train import saved_steps
from ..training.tuning import CAME_BACK, FIRST_RATE, LOST_SHARE, UNMOVED, Tried, next_rate
from .epochs import candidates, original_utility, train_epochs
from .job import Job


def tuning(job: Job) -> None:
    """Try learning rates until the best that keeps the utility is known closely enough, until nothing is left to gain,
    or the trials are spent.

    Importance, baseline and step 0 are those of the run. Where nothing measures the utility there is no such rate, and
    one trial at the first one is all.
    """
    earlier = job.folder.state.tuning
    trials = list(earlier.trials) if earlier else []
    first = FIRST_RATE
    if job.recipe.training.learning_rate_scale == "none":
        first *= typical_factor(job.trained)
    most = job.recipe.tuning.trials
    if math.isnan(original_utility(job)):
        most = 1
        say("  Nothing measures the utility, so no rate can be found by it: the first one is used.")
    while len(trials) < most and not _suffices(trials, _enough(job), job.resolution):
        rate = next_rate(first, [_tried(trial, job.training.epochs) for trial in trials], job.resolution)
        if rate is None:
            break
        number = len(trials) + 1
        say(f"  trial {number} of at most {most}: learning rate {rate:g}")
        trials.append(_try(job, number, rate))
        _record(job, trials)
        gc.collect()  # the trainer's cycles hold its optimiser
    chosen = _best(trials, job.resolution)
    _record(job, trials, chosen)
    say(f"  chosen: learning rate {trials[chosen - 1].learning_rate:g}, of trial {chosen}")


def _enough(job: Job) -> float:
    """The forget score from which on nothing is left to gain."""
    return job.benchmark.best_score(job.folder.metrics("before"), job.objective.aims) - job.resolution


def resolution_left(job: Job) -> float:
    """How much worse than its trial's best an epoch may be, where the trial itself may be worse than another."""
    facts = job.folder.state.tuning
    if facts is None or facts.chosen is None:
        return job.resolution
    scores = [score for trial in facts.trials if (score := _score(trial)) is not None]
    chosen = _score(facts.trials[facts.chosen - 1])
    return max(0.0, job.resolution - (max(scores) - chosen)) if chosen is not None else job.resolution


def found_plan(job: Job) -> TrainingPlan:
    """The settings of the run's training, with the rate that was found where one was looked for."""
    facts = job.folder.state.tuning
    if facts is None or facts.chosen is None:
        return job.training
    rate = facts.trials[facts.chosen - 1].learning_rate
    return job.training.model_copy(update={"learning_rate": rate})


def take_over_best(job: Job) -> None:
    """Put what the chosen trial left where the run's training would have: it is that training."""
    facts = job.folder.state.tuning
    if facts is None or facts.chosen is None:
        return
    if job.main_process:
        trial = job.folder.trial(facts.chosen)
        if trial.checkpoints.exists():  # the last thing to be moved
            for row in trial.epochs:
                _copy_log(trial, job.folder, f"epoch-{row.epoch}")
            for source, target in (
                (trial.steps_file, job.folder.steps_file),
                (trial.metrics_file, job.folder.metrics_file),
            ):
                if source.exists():
                    with atomic_file(target) as part:
                        shutil.copyfile(source, part)
            os.replace(trial.checkpoints, job.folder.checkpoints)
    processes().wait_for_everyone()
    if not saved_steps(job.folder.checkpoints):
        # An earlier version threw away what it came to want again: then it is trained once more, from step 0.
        load_weights(job.trained, job.folder.initial_adapter)
    job.folder.reload()


def _copy_log(trial: EpochsFolder, run: EpochsFolder, name: str) -> None:
    target = run.evaluation(name)
    with recorded(target), atomic_file(target, private=True) as part:
        shutil.copyfile(trial.evaluation(name), part)


def _try(job: Job, number: int, rate: float) -> Trial:
    """Train from step 0 at this rate, as far as it is worth its time."""
    plan = job.training.model_copy(update={"learning_rate": rate})
    set_seed(job.recipe.seed)
    load_weights(job.trained, job.folder.initial_adapter)
    leave = partial(_reason_to_leave, job, plan, number)
    stopped = train_epochs(job, plan, job.folder.trial(number), leave)
    processes().wait_for_everyone()
    folder = job.folder.trial(number)  # read anew: the first process has written it
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
    are over, it is so without, has nothing left to gain, has lost much of the utility, moved nothing, or had forgotten
    better before, with the utility kept: λ rises and the rate falls, so that what comes back goes on coming back."""
    if epoch.epoch >= plan.epochs:
        return None
    folder = job.folder.trial(number)  # read anew: its epochs are written one by one
    original, early = original_utility(job), epoch.epoch < plan.epochs / 3
    if (epoch.qualifies(original) or not early) and _past_its_aim(job, folder, epoch):
        return "less of the forget set is left than of what was never seen"
    if early:
        return None
    if epoch.utility >= original and epoch.futile is None:  # what is lost of it the later epochs win back
        score = min(epoch.forget_score, _compared_score(job, folder, epoch))
        if score >= _enough(job):
            return "nothing is left to gain"
    if epoch.utility < LOST_SHARE * original:
        return f"the utility fell to {epoch.utility / original:.0%} of the original's"
    start = job.benchmark.score(job.folder.metrics("before"), job.objective.aims)
    if abs(epoch.forget_score - start) < UNMOVED:
        return "the forget score had not moved"
    before = [each for each in candidates(folder) if each.epoch < epoch.epoch and each.qualifies(original)]
    best = max((each.forget_score for each in before if each.futile is None), default=-math.inf)
    if best - epoch.forget_score > max(job.resolution, CAME_BACK * (best - start)):
        return "an earlier epoch had forgotten better, with the utility kept"
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


def _tried(trial: Trial, epochs: int) -> Tried:
    done = trial.epochs / epochs if trial.left else 1.0
    if _is_futile(trial) and trial.state == "kept":
        # Larger steps are called for, not smaller ones.
        return Tried(trial.learning_rate, -math.inf, beyond=False, done=done)
    return Tried(trial.learning_rate, _score(trial), trial.beyond, done)


def _score(trial: Trial) -> float | None:
    """What the search goes by: the best forget score of an epoch that keeps the utility; None where there is none."""
    if not trial.qualified:
        return None
    return trial.forget_score if trial.best_score is None else trial.best_score


def _is_futile(trial: Trial) -> bool:
    """Whether it has forgotten nothing after any epoch."""
    return trial.best_epoch is None and trial.epochs > 0


def _suffices(trials: list[Trial], enough: float, resolution: float) -> bool:
    """Whether nothing is left to gain over the trial that would be handed over now."""
    if not trials:
        return False
    best = trials[_best(trials, resolution) - 1]
    score = _score(best)
    return best.reached or (score is not None and (score >= enough or best.near_enough))


def _best(trials: list[Trial], resolution: float) -> int:
    """The number of the trial to hand over: the best forgotten of those that keep the utility; of equals the one that
    keeps most.

    An epoch that keeps it counts whatever became of its trial afterwards. Where none does, the one that keeps most.
    What has reached the recipe's thresholds is what it asks for, and goes before all.
    """
    numbers = range(1, len(trials) + 1)
    if reached := [number for number in numbers if trials[number - 1].reached]:
        return max(reached, key=lambda number: _kept(trials[number - 1]))
    scores = {number: score for number in numbers if (score := _score(trials[number - 1])) is not None}
    equals = [number for number, score in scores.items() if score >= max(scores.values()) - resolution]
    return max(equals or numbers, key=lambda number: _kept(trials[number - 1]))


def _may_be_chosen(trials: list[Trial], resolution: float) -> set[int]:
    """The numbers of the trials of which `_best` may be one, whatever trials come after.

    What is within the resolution of the best score may not be any more once a better one is found, and then another
    trial is the one that keeps most. A trial is out for good where another has forgotten no less and kept more, or as
    much and came first.
    """
    numbers = range(1, len(trials) + 1)
    scores = {number: score for number in numbers if (score := _score(trials[number - 1])) is not None}
    if not scores or any(trial.reached for trial in trials):  # with one the search is over
        return {_best(trials, resolution)}
    near = {number for number, score in scores.items() if score >= max(scores.values()) - resolution}

    def rank(number: int) -> tuple[tuple[bool, float], int]:
        return _kept(trials[number - 1]), -number

    return {
        number
        for number in near
        if not any(scores[other] >= scores[number] and rank(other) > rank(number) for other in near)
    }


def _kept(trial: Trial) -> tuple[bool, float]:
    """By which trials that forgot alike are put in order: one that forgot nothing keeps all, and comes last."""
    return not _is_futile(trial), -math.inf if trial.utility is None else trial.utility


def _record(job: Job, trials: list[Trial], chosen: int | None = None) -> None:
    """Write down how far the search has come, and keep the checkpoints of those trials that may be handed over."""
    if not job.main_process:
        return
    kept = {chosen} if chosen else _may_be_chosen(trials, job.resolution)
    for number in range(1, len(trials) + 1):
        if number not in kept:
            shutil.rmtree(job.folder.trial(number).checkpoints, ignore_errors=True)
    before = choosing_part(job.benchmark.read_log(job.folder.evaluation("before")), job.recipe.seed)
    facts = TuningFacts(questions=questions(before), trials=trials, chosen=chosen)
    job.folder.update(tuning=facts.model_dump(mode="json"))
