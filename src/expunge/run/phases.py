"""The phases of a run, in their order. Each leaves its result on disk before it counts as done."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch.utils.data import DataLoader
from transformers import set_seed

from ..adapters.anchor import WEIGHTS_FILE, adapted_layers, load_weights, save_adapter
from ..adapters.attach import attach_adapter, uniform_importance
from ..adapters.export import export_adapter, export_merged
from ..data.encoding import Example, collate
from ..errors import InputError, Problem, RunFailed
from ..evaluation.log import EvaluationLog
from ..evaluation.metric import Metric
from ..importance import estimators, measure_importance
from ..models.loading import load_config, load_model
from ..models.processes import processes
from ..progress import say
from ..recipe.schema import Model
from ..report import write_model_card, write_report
from ..storage import atomic_file, atomic_folder, read_json_lines, write_json_lines
from ..training.callback import EpochCallback
from ..training.selection import UTILITY_SHARE, Candidate, choose
from ..training.train import build_trainer, saved_steps
from .folder import RunFolder, now
from .job import Job


def run_phases(job: Job) -> None:
    """Run every phase that is not done yet.

    Each starts from the recipe's seed, so that a resumed run draws the same random numbers as an uninterrupted one.
    """
    phases = [
        (name, phase)
        for name, phase in PHASES.items()
        if name != "importance" or job.recipe.adapter.initialization in estimators
    ]
    for number, (name, phase) in enumerate(phases, start=1):
        title = f"[{number}/{len(phases)}] {name}"
        if job.folder.done(name):
            say(f"{title}: done before, {job.folder.state['phases'][name]['seconds']:.1f} s")
            continue
        say(title)
        set_seed(job.recipe.seed)
        if job.main_process:
            with job.folder.phase(name) as result:
                with job.meter.phase() as cost:
                    phase(job)
                result.update(cost)
        else:
            phase(job)
        processes().wait_for_everyone()
        if not job.main_process:
            job.folder.reload()
    if job.main_process:
        job.folder.update(state="done", finished=job.folder.state["finished"] or now())
        # The report shows the costs of every phase, its own included.
        write_report(job.folder.path)


def baseline(job: Job) -> None:
    """Measure the reference, then the original model: what the run starts from and aims at."""
    if not job.main_process:
        return
    given = job.recipe.evaluation.reference
    if given is not None:
        _record_metrics(job, "reference", _evaluate_reference(job, given))
    log = job.before_log or job.benchmark.evaluate(job.base, job.encoder)
    log.model = job.model_facts(job.base)
    _record_metrics(job, "before", job.record(log, "before"))


def _evaluate_reference(job: Job, given: str) -> EvaluationLog:
    if job.given_reference_log is not None:
        return job.record(job.given_reference_log, "reference")
    model = load_model(Model(path=given, dtype=job.recipe.model.dtype), "evaluation.reference")
    job.meter.watch(model)
    log = job.benchmark.evaluate(model, job.encoder)
    log.model = job.model_facts(model, path=given)
    return job.record(log, "reference")


def importance(job: Job) -> None:
    """Measure which rows of which layers carry the forget set."""
    settings, adapter = job.recipe.importance, job.recipe.adapter
    forget = _draw(job.forget, settings.samples, job.recipe.seed)
    retain = _draw(job.retain, settings.samples or len(forget), job.recipe.seed)
    rows = measure_importance(
        job.base,
        _batches(job, forget, settings.batch_size),
        _batches(job, retain, settings.batch_size) if retain else None,
        estimator=adapter.initialization,
        targets=adapter.targets,
        layers=adapter.layers,
        rank=adapter.rank,
        seed=job.recipe.seed,
    )
    if job.main_process:
        with atomic_file(job.folder.importance_file) as partial:
            save_file(rows, partial)


def _draw(examples: Sequence[Example], samples: int | None, seed: int) -> list[Example]:
    if samples is None or samples >= len(examples):
        return list(examples)
    return random.Random(seed).sample(list(examples), samples)


def _batches(job: Job, examples: Sequence[Example], batch_size: int) -> DataLoader:
    """This process's share, sorted by length: batches without padding waste."""
    state = processes()
    share = sorted(examples, key=len)[state.process_index :: state.num_processes]
    if not share:
        raise InputError(
            Problem("importance.samples", f"there are fewer samples than processes ({state.num_processes}).",
                    "Use more samples or fewer processes.")
        )  # fmt: skip
    pad = job.encoder.pad_token_id
    return DataLoader(share, batch_size, collate_fn=lambda part: collate(part, pad))  # type: ignore[arg-type]


def adapter(job: Job) -> None:
    """Place the adapter's starting point, and keep it: the anchor."""
    settings = job.recipe.adapter
    if settings.initialization in estimators:
        rows = load_file(job.folder.importance_file)
    elif settings.initialization == "pissa":
        rows = uniform_importance(job.base, settings.targets, settings.layers)
    else:
        rows = None
    model = attach_adapter(
        job.base,
        rows,
        rank=settings.rank,
        alpha=settings.alpha,
        targets=settings.targets,
        layers=settings.layers,
        seed=job.recipe.seed,
    )
    job.set_adapted(model)
    if job.main_process:
        with atomic_folder(job.folder.initial_adapter) as partial:
            save_adapter(model, partial)
        trainable, _ = model.get_nb_trainable_parameters()
        job.folder.state["adapter"].update(modules=len(adapted_layers(model)), trainable_parameters=trainable)


def training(job: Job) -> None:
    """Train, evaluating after each epoch, and choose the epoch that is handed over."""
    settings, folder = job.recipe.training, job.folder
    original = job.benchmark.utility(_metrics(folder, "before"), generated=job.generates_every_time)
    stopped = None
    done = saved_steps(folder.checkpoints)
    last = max(done, default=0)
    finished = next((row for row in folder.epochs if row["step"] == last), None)
    if finished is None or (finished["epoch"] < settings.epochs and not finished["stopped"]):
        callback = EpochCallback(
            lambda epoch: _measure_epoch(job, epoch),
            lambda row, steps: _record_epoch(job, row, steps),
            original,
            job.recipe.stopping.utility_floor,
            settings.epochs,
            job.recipe.epochs_between_evaluations,
        )
        trainer = build_trainer(
            job.adapted,
            job.forget,
            job.retain,
            objective=job.recipe.objective,
            training=settings,
            seed=job.recipe.seed,
            pad_token_id=job.encoder.pad_token_id,
            checkpoints=folder.checkpoints,
            callbacks=[callback],
        )
        trainer.train(resume_from_checkpoint=str(done[last]) if last else None)
        stopped = callback.stopped
    else:
        stopped = finished["stopped"]
    if not job.main_process:
        return
    kept = saved_steps(folder.checkpoints)
    rows = [row for row in folder.epochs if row["step"] in kept]
    if not rows:
        raise RunFailed(
            f"{stopped} No epoch was finished before, so nothing was exported. Lower training.learning_rate or "
            "give a retain loss, and start anew with another --output."
        )
    choice = choose([_candidate(row) for row in rows], original)
    folder.update(
        training={
            "steps": rows[-1]["step"],
            "epochs": rows[-1]["epoch"],
            "best_epoch": choice.epoch,
            "qualified": choice.qualified,
            "utility_floor": UTILITY_SHARE,
            "stopped": stopped,
        }
    )
    say(
        f"  chosen: epoch {choice.epoch}"
        + ("" if choice.qualified else " (no epoch keeps 95 % of the utility)")
        + (f". Stopped: {stopped}" if stopped else "")
    )


def _measure_epoch(job: Job, epoch: int) -> tuple[Candidate, dict[str, Any]]:
    metrics: dict[str, Any] = {}
    score = utility = math.nan
    if job.main_process:
        log = job.benchmark.measure(job.adapted, job.encoder)
        if log.finite:
            if job.generates_every_time:
                log = job.benchmark.generate(job.adapted, job.encoder, log)
            log.model = job.model_facts(job.adapted, adapter=f"epoch {epoch}")
            job.record(log, f"epoch-{epoch}")
            score = job.benchmark.forget_score(log.metrics)
            utility = job.benchmark.utility(log.metrics, generated=job.generates_every_time)
            metrics = {name: metric.to_json() for name, metric in log.metrics.items()}
    if torch.distributed.is_initialized():
        shared = torch.tensor([score, utility], dtype=torch.float64, device=processes().device)
        torch.distributed.broadcast(shared, src=0)
        score, utility = shared.tolist()
    return Candidate(epoch, score, utility), metrics


def _candidate(row: dict[str, Any]) -> Candidate:
    utility = math.nan if row["utility"] is None else row["utility"]
    return Candidate(row["epoch"], row["forget_score"], utility)


def _record_epoch(job: Job, row: dict[str, Any], steps: list[dict[str, Any]]) -> None:
    if job.main_process:
        earlier = [old for old in read_json_lines(job.folder.metrics_file) if old["epoch"] < row["epoch"]]
        write_json_lines(job.folder.steps_file, steps)
        write_json_lines(job.folder.metrics_file, [*earlier, row])


def _load_best(job: Job) -> None:
    best = job.folder.state["training"]["best_epoch"]
    step = next(row["step"] for row in job.folder.epochs if row["epoch"] == best)
    load_weights(job.adapted, saved_steps(job.folder.checkpoints)[step])


def evaluation(job: Job) -> None:
    """Take over the chosen epoch's evaluation, completed with generations where it has none yet."""
    if not job.main_process:
        return
    best = job.folder.state["training"]["best_epoch"]
    log = job.benchmark.read_log(job.folder.evaluation(f"epoch-{best}"))
    if not log.generated:
        _load_best(job)
        log = job.benchmark.generate(job.adapted, job.encoder, log)
    log.model["adapter"] = str(job.folder.adapter)
    _record_metrics(job, "after", job.record(log, "after"))


def export(job: Job) -> None:
    """Write what is handed over: the adapter for the untouched base, and the merged model where asked for."""
    if not job.main_process:
        return
    _load_best(job)
    export_adapter(
        job.adapted, job.folder.adapter, base_name=job.recipe.model.path, revision=job.recipe.model.revision
    )
    job.folder.state["adapter"]["bytes"] = (job.folder.adapter / WEIGHTS_FILE).stat().st_size
    if "merged" in job.recipe.export:
        write_merged(job.recipe.model, job.tokenizer, job.folder.adapter, job.folder.merged)


def write_merged(model: Model, tokenizer: Any, adapter_folder: Path, output: Path) -> None:
    """Merge an exported adapter into its base, read anew in the checkpoint's own dtype."""
    own = str(load_config(model).dtype or torch.float32).removeprefix("torch.")
    base = load_model(model.model_copy(update={"dtype": own, "quantization": None}))
    export_merged(base, tokenizer, adapter_folder, output)


def report(job: Job) -> None:
    """Write the model card and the report."""
    if job.main_process:
        write_model_card(job.folder.path)
        write_report(job.folder.path)


def _metrics(folder: RunFolder, name: str) -> dict[str, Metric]:
    return {key: Metric.from_json(value) for key, value in folder.state["metrics"][name].items()}


def _record_metrics(job: Job, name: str, log: EvaluationLog) -> None:
    job.folder.state["metrics"][name] = {key: metric.to_json() for key, metric in log.metrics.items()}
    job.folder.save()


PHASES: dict[str, Callable[[Job], None]] = {
    "baseline": baseline,
    "importance": importance,
    "adapter": adapter,
    "training": training,
    "evaluation": evaluation,
    "export": export,
    "report": report,
}
