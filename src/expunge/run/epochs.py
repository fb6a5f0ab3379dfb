"""Training, and what is measured after each of its epochs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from accelerate.utils import broadcast_object_list

from ..adapters.change import is_unchanged
from ..evaluation.metric import Metric
from ..folder.epochs import EpochsFolder
from ..folder.state import EpochRow
from ..models.processes import processes
from ..objectives import Objective
from ..training.callback import EpochCallback
from ..training.selection import Candidate, Futile
from ..training.settings import TrainingPlan
from ..training.stopping import all_reached
from ..training.trackers import EpochTracker
from ..training.train import build_trainer, saved_steps
from .job import Job


def train_epochs(
    job: Job,
    plan: TrainingPlan,
    folder: EpochsFolder,
    leave: Callable[[Candidate], str | None] = lambda candidate: None,
) -> str | None:
    """Train the job's model from step 0, or go on from the last checkpoint in `folder`, and measure after each epoch.

    leave: why no further epoch is worth its time; None where one is

    Returns why training ended before its last epoch, None where it did not.
    """
    done = saved_steps(folder.checkpoints)
    last = max(done, default=0)
    finished = next((row for row in folder.epochs if row.step == last), None)
    if finished is not None and (finished.epoch >= plan.epochs or finished.stopped):
        return finished.stopped
    objective = job.method.objective()  # a dual variable starts anew with every training

    def measure(epoch: int) -> tuple[Candidate, dict[str, Any]]:
        candidate, metrics = _measure_epoch(job, epoch, folder)
        _raise_where_needed(objective, candidate.utility, original_utility(job))
        return candidate, metrics

    if finished is not None:
        _raise_where_needed(objective, _candidate(finished).utility, original_utility(job))
    callback = EpochCallback(
        measure,
        lambda row, steps: _record_epoch(job, folder, row, steps),
        original_utility(job),
        job.recipe.stopping.utility_floor if job.method.starts_from_original else 0.0,
        plan.epochs,
        job.epochs_between_evaluations,
        leave=leave,
    )
    trainer = build_trainer(
        job.trained,
        job.forget,
        job.retain,
        job.substitutes,
        objective=objective,
        training=plan,
        seed=job.recipe.seed,
        pad_token_id=job.encoder.pad_token_id,
        checkpoints=folder.checkpoints,
        callbacks=[callback, *job.callbacks],
    )
    callback.listeners = [EpochTracker(trainer), *job.callbacks]
    trainer.train(resume_from_checkpoint=str(done[last]) if last else None)
    return callback.stopped


def _raise_where_needed(objective: Objective, utility: float, original: float) -> None:
    """Let a rising λ rise only while there is something to win back: to keep more than there was costs forgetting."""
    for term in objective.terms:
        term.weight.needed = not utility >= original  # where it is not measured, nobody knows


def original_utility(job: Job) -> float:
    """What the utility rule takes its share of; NaN where nothing measures it."""
    if job.original_utility is not None:
        return job.original_utility
    return job.benchmark.utility(job.folder.metrics("before"), generated=job.generates_every_time)


def candidates(folder: EpochsFolder) -> list[Candidate]:
    """The epochs that can be handed over: those that were measured, and have their checkpoint."""
    kept = saved_steps(folder.checkpoints)
    return [_candidate(row) for row in folder.epochs if row.step in kept]


def _candidate(row: EpochRow) -> Candidate:
    utility = math.nan if row.utility is None else row.utility
    return Candidate(row.epoch, row.forget_score, utility, row.reached, row.futile)


def _measure_epoch(job: Job, epoch: int, folder: EpochsFolder) -> tuple[Candidate, dict[str, Any]]:
    metrics: dict[str, Any] = {}
    score = utility = math.nan
    reached = False
    futile: Futile | None = None
    with job.method.handed_over(job.base, job.trained) as model:
        log = job.benchmark.measure(model, job.encoder)
        if log.finite and job.generates_between_epochs:
            log = job.benchmark.generate(model, job.encoder, log)
    # What all processes take part in, as each may have a part of the base only.
    unchanged = job.method.adapts and is_unchanged(job.trained)
    if log.finite and job.main_process:
        log.model = job.model_facts(model, path=job.method.source.path, adapter=f"epoch {epoch}")
        job.record(log, f"epoch-{epoch}", folder)
        score = job.benchmark.score(log.metrics, job.objective.aims)
        utility = job.benchmark.utility(log.metrics, generated=job.generates_every_time)
        reached = all_reached(job.thresholds, log.metrics)
        futile = _futile(job, log.metrics, unchanged)
        metrics = {name: metric.to_json() for name, metric in log.metrics.items()}
    found = Candidate(epoch, score, utility, reached, futile), metrics
    if processes().num_processes > 1:
        (found,) = broadcast_object_list([found])  # listeners and the choice to stop are everyone's
    return found


def _futile(job: Job, metrics: Mapping[str, Metric], unchanged: bool) -> Futile | None:
    """Why the model in training forgets nothing, as far as that can be told of the method; None where it does."""
    if not job.method.starts_from_original:
        return None
    if unchanged:
        return "unchanged"
    return None if job.benchmark.forgets_more(metrics, job.folder.metrics("before")) else "no better"


def _record_epoch(job: Job, folder: EpochsFolder, row: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    if job.main_process:
        folder.write_epoch(row, steps)
