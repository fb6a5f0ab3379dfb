"""`training.learning_rate: auto`: trials at one rate after another, and the best of them taken over as the training."""

from __future__ import annotations

import gc
import math
import os
import shutil

from ..adapters.anchor import load_weights
from ..benchmarks.halves import choosing_part, questions
from ..folder.epochs import EpochsFolder
from ..folder.state import Trial, TuningFacts
from ..models.processes import processes
from ..progress import say
from ..storage import atomic_file, recorded
from ..training.learning_rates import typical_factor
from ..training.settings import TrainingPlan
from ..training.train import saved_steps
from ..training.tuning import FIRST_RATE, Tried, next_rate
from .epochs import original_utility
from .job import Job
from .trial import enough, try_rate


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
    while len(trials) < most and not _suffices(trials, enough(job), job.resolution):
        rate = next_rate(first, [_tried(trial, job.training.epochs) for trial in trials], job.resolution)
        if rate is None:
            break
        number = len(trials) + 1
        say(f"  trial {number} of at most {most}: learning rate {rate:g}")
        trials.append(try_rate(job, number, rate))
        _record(job, trials)
        gc.collect()  # the trainer's cycles hold its optimiser
    chosen = _best(trials, job.resolution)
    _record(job, trials, chosen)
    say(f"  chosen: learning rate {trials[chosen - 1].learning_rate:g}, of trial {chosen}")


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


def _suffices(trials: list[Trial], enough: float | None, resolution: float) -> bool:
    """Whether nothing is left to gain over the trial that would be handed over now.

    enough: the score from which on nothing is; None where only thresholds say so
    """
    if not trials:
        return False
    best = trials[_best(trials, resolution) - 1]
    score = _score(best)
    if best.reached or enough is None or score is None:
        return best.reached
    return score >= enough or best.near_enough


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
    before = choosing_part(job.benchmark.read_log(job.folder.evaluation("before")), job.recipe.seed)
    facts = TuningFacts(questions=questions(before), trials=trials, chosen=chosen)
    job.folder.update(tuning=facts.model_dump(mode="json"))
    # Only then, since what came of a trial is read from its checkpoints where it is not written down.
    kept = {chosen} if chosen else _may_be_chosen(trials, job.resolution)
    for number in range(1, len(trials) + 1):
        if number not in kept:
            shutil.rmtree(job.folder.trial(number).checkpoints, ignore_errors=True)
