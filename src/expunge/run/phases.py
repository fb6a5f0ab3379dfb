"""The phases of a run, in their order. Each leaves its result on disk before it counts as done."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from safetensors.torch import load_file, save_file
from transformers import set_seed

from ..adapters.anchor import REINFORCED, UNLEARN, adapted_layers, reinforced_config, save_adapter
from ..adapters.attach import attach_adapter, uniform_importance
from ..adapters.loading import load_model
from ..adapters.low_rank import official_low_rank, weighted_low_rank
from ..adapters.settings import DIRECTIONS
from ..errors import Diverged
from ..evaluation.log import EvaluationLog
from ..folder.machine import now
from ..folder.run import read_run_folder
from ..intact import broken, read_intact
from ..models.processes import processes
from ..models.settings import Model
from ..objectives import Objective, Term, retain_losses
from ..progress import say
from ..report.attacks import how_many, not_made
from ..report.card import write_model_card
from ..report.evidence import Evidence
from ..report.known import clearly_unknown
from ..report.page import gather_evidence, write_report
from ..report.verdict import judge
from ..storage import atomic_file, atomic_folder, recorded
from ..training.selection import UTILITY_SHARE
from ..training.stopping import all_reached, check_thresholds
from ..training.train import build_trainer
from ..training.tuning import FIRST_RATE
from ..training.weights import load_trained
from .attack import run_attacks
from .epochs import candidates, original_utility, train_epochs
from .importance import take_or_measure
from .job import Job
from .targets import target_of_run
from .tuning import found_plan, resolution_left, take_over_best, tuning


def run_phases(job: Job) -> None:
    """Run every phase that is not done yet.

    Each starts from the recipe's seed, so that a resumed run draws the same random numbers as an uninterrupted one.
    """
    phases = [
        (name, phase) for name, phase in PHASES.items() if name not in ONLY_WHERE or ONLY_WHERE[name](job)
    ]
    for number, (name, phase) in enumerate(phases, start=1):
        if job.folder.state.ended and name != "report" and not job.folder.done(name):
            continue
        title = f"[{number}/{len(phases)}] {name}"
        if job.folder.done(name):
            say(f"{title}: done before, {job.folder.state.phases[name].seconds or 0:.1f} s")
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
        verdict = judge(gather_evidence(read_run_folder(job.folder.path)))
        job.folder.update(
            state="done", finished=job.folder.state.finished or now(), verdict=verdict.to_json()
        )
        # The report shows the costs of every phase, its own included.
        write_report(job.folder.path)


def baseline(job: Job) -> None:
    """Measure the reference, then the original model: what the run starts from and aims at."""
    given = job.recipe.evaluation.reference
    if given is not None:
        _record_metrics(job, "reference", _evaluate_reference(job, given))
    log = job.before_log or job.evaluate(job.base)
    log.model = job.model_facts(job.base)
    _record_metrics(job, "before", job.record(log, "before"))
    _check_thresholds(job, log)
    if job.main_process:
        _look_at_the_request(job)


def _look_at_the_request(job: Job) -> None:
    """Say what cannot be judged later, and end the run where the model clearly never knew the forget set."""
    before, reference = (job.folder.metrics(stage) for stage in ("before", "reference"))
    name = job.benchmark.utility_metric(before, generated=job.generates_every_time)
    if name is not None and (few := job.too_few_for_utility(before[name].n)):
        say(f"  {few}")
    evidence = Evidence(
        before=before, reference=reference, surrogate=job.surrogate.facts if job.surrogate else {}
    )
    unknown = clearly_unknown(evidence) if job.method.starts_from_original else None
    if not unknown:
        return
    say(f"  There is nothing to forget: {unknown}.")
    if job.recipe.stopping.nothing_to_forget == "stop":
        job.folder.update(ended="nothing to forget")


def _check_thresholds(job: Job, before: EvaluationLog) -> None:
    """Which metrics there are shows in the first log: before importance and training are paid for."""
    if not job.thresholds:
        return
    without_answers = before.generated and not job.generates_every_time
    measured = job.benchmark.measure(job.base, job.encoder) if without_answers else before
    if not job.main_process:
        return
    check_thresholds(job.thresholds, before.metrics)
    check_thresholds(
        job.thresholds,
        job.benchmark.all_metrics(measured, job.reference_log, before),
        "It needs generated answers after every epoch: set evaluation.generate to every.",
    )
    if all_reached(job.thresholds, before.metrics):
        say(
            "  The thresholds are reached before anything is trained: training will end after its first epoch."
        )


def _evaluate_reference(job: Job, given: str) -> EvaluationLog:
    if job.given_reference_log is not None:
        return job.record(job.given_reference_log, "reference")
    with job.base_set_aside():
        log = _measure_reference(job, given)
    return job.record(log, "reference")


def _measure_reference(job: Job, given: str) -> EvaluationLog:
    model = load_model(Model(path=given, dtype=job.recipe.model.dtype), "evaluation.reference")
    job.meter.watch(model)
    log = job.evaluate(model)
    log.model = job.model_facts(model, path=given)
    return log


def importance(job: Job) -> None:
    """Which rows of which layers carry the forget set: from the store, or measured."""
    rows = take_or_measure(job)
    if job.main_process:
        file = job.folder.importance_file
        with recorded(file), atomic_file(file) as partial:
            save_file(rows, partial)


def adapter(job: Job) -> None:
    """Place the adapter's starting point, and keep it: the anchor."""
    settings = job.recipe.adapter
    measured = read_intact(load_file, job.folder.importance_file) if settings.measured else None
    directed = settings.initialization == DIRECTIONS
    if measured is not None and not directed:
        rows = measured
    elif settings.initialization == "pissa":
        rows = uniform_importance(job.start, settings.targets, settings.layers)
    else:
        rows = None
    model = attach_adapter(
        job.start,
        rows,
        directions=measured if directed else None,
        rank=settings.rank,
        alpha=settings.alpha,
        targets=settings.targets,
        layers=settings.layers,
        seed=job.recipe.seed,
        low_rank=official_low_rank if job.procedure.public_factors else weighted_low_rank,
    )
    job.set_trained(model)
    if job.main_process:
        with atomic_folder(job.folder.initial_adapter) as partial:
            save_adapter(model, partial)
        trainable, _ = model.get_nb_trainable_parameters()
        job.folder.extend("adapter", modules=len(adapted_layers(model)), trainable_parameters=trainable)


def reinforcement(job: Job) -> None:
    """Train a further adapter *on* the forget set: some losses ask what learning more of it would change. Where the
    rate is to be found it is the search's first one."""
    model = job.trained
    found = job.recipe.training.learning_rate == "auto"
    plan = job.training.model_copy(update={"learning_rate": FIRST_RATE}) if found else job.training
    model.add_adapter(REINFORCED, reinforced_config(model))
    model.set_adapter(REINFORCED)
    trainer = build_trainer(
        model,
        job.forget,
        [],
        objective=Objective([Term(retain_losses["nll"], "forget")]),
        training=plan,
        seed=job.recipe.seed,
        pad_token_id=job.encoder.pad_token_id,
        checkpoints=job.folder.checkpoints,
        callbacks=[],
        save=False,
    )
    trainer.train()
    model.set_adapter(UNLEARN)
    if job.main_process:
        with atomic_folder(job.folder.reinforced_adapter) as partial:
            save_adapter(model, partial, name=REINFORCED)


def training(job: Job) -> None:
    """Train, evaluating after each epoch, and choose the epoch that is handed over."""
    folder = job.folder
    take_over_best(job)
    plan, original = found_plan(job), original_utility(job)
    stopped = train_epochs(job, plan, folder)
    if not job.main_process:
        return
    measured = candidates(folder)
    if not measured:
        guard = "" if job.objective.sees("retain") else " or give a retain loss"
        raise Diverged(
            f"{stopped} No epoch was finished before, so nothing was exported. Lower training.learning_rate{guard}, "
            "and start anew with another --output."
        )
    choice = job.method.choose(measured, original, resolution_left(job))
    last = next(row for row in folder.epochs if row.epoch == measured[-1].epoch)
    nothing = choice.epoch is None
    folder.update(
        **({"ended": "nothing was forgotten"} if nothing else {}),
        training={
            "steps": last.step,
            "epochs": last.epoch,
            "best_epoch": choice.epoch,
            "choose": job.recipe.stopping.choose,
            "qualified": choice.qualified,
            "futile": last.futile if nothing else None,
            "aims": job.objective.aims,
            "utility_floor": UTILITY_SHARE,
            "utility_metric": job.benchmark.utility_metric(
                folder.metrics("before"), generated=job.generates_every_time
            ),
            "original_utility": None if math.isnan(original) else original,
            "stopped": stopped,
            **({"settings": plan.model_dump(mode="json")} if plan.differs(job.recipe.training) else {}),
        },
    )
    if nothing:
        say(
            "  Nothing was forgotten, so nothing is handed over."
            + (f" Stopped: {stopped}" if stopped else "")
        )
        return
    short = "it keeps less than" if job.recipe.stopping.choose == "last" else "no epoch keeps"
    say(
        f"  chosen: epoch {choice.epoch}"
        + ("" if choice.qualified else f" ({short} 95 % of the utility)")
        + (f". Stopped: {stopped}" if stopped else "")
    )


def _best_epoch(job: Job) -> int:
    training = job.folder.state.training
    if training is None or training.best_epoch is None:
        raise broken(job.folder.state_file, "it lacks the best epoch of training, though that phase is done")
    return training.best_epoch


def _load_best(job: Job) -> None:
    best = _best_epoch(job)
    step = next((row.step for row in job.folder.epochs if row.epoch == best), None)
    if step is None:
        raise broken(job.folder.metrics_file, f"it has no line of epoch {best}")
    load_trained(job.trained, job.folder.checkpoints / f"checkpoint-{step}")


def evaluation(job: Job) -> None:
    """Take over the chosen epoch's evaluation, completed with generations where it has none yet, and with texts."""
    best = _best_epoch(job)
    log = job.benchmark.read_log(job.folder.evaluation(f"epoch-{best}"))
    incomplete = not log.generated or job.benchmark.has_texts
    if incomplete and job.recipe.evaluation.generate != "never":
        _load_best(job)
        with job.method.handed_over(job.base, job.trained) as model:
            if not log.generated:
                log = job.benchmark.generate(model, job.encoder, log)
            log = job.benchmark.continue_texts(model, job.encoder, log)
    log.model["adapter"] = str(job.folder.path / job.method.forms[0])
    _record_metrics(job, "after", job.record(log, "after"))


def export(job: Job) -> None:
    """Write what is handed over, of the chosen epoch."""
    if not job.main_process:
        return
    _load_best(job)
    with job.method.handed_over(job.base, job.trained) as model:
        size = job.method.export(model, job.tokenizer, job.folder)
    if size is not None:
        job.folder.extend("adapter", bytes=size)


def attacks(job: Job) -> None:
    """Try to bring back what the model that is handed over has forgotten.

    The cheap ones are left out where neither a reference nor a holdout is there to compare with: nothing would follow.
    """
    budget = job.recipe.attacks.budget
    assert budget != "none"
    job.release()
    target = replace(target_of_run(job, job.folder), watch=job.meter.watch)
    if budget == "cheap" and target.ground == "none":
        say(
            "  Not made: there is no reference model (evaluation.reference) and no holdout (data.holdout) to compare "
            "with. `expunge attack` makes them all the same."
        )
        return
    facts = run_attacks(target, job.folder.attacks_of(budget), budget)
    for sentence in (how_many(facts), *not_made(facts)):
        say(f"  {sentence}")
    if job.main_process:
        job.folder.update(attacks=facts.model_dump(mode="json"))


def report(job: Job) -> None:
    """Write the model card and the report."""
    if job.main_process:
        write_model_card(job.folder.path)
        write_report(job.folder.path)


def _record_metrics(job: Job, name: str, log: EvaluationLog) -> None:
    if job.main_process:
        job.folder.write_metrics(name, log.metrics)


PHASES: dict[str, Callable[[Job], None]] = {
    "baseline": baseline,
    "importance": importance,
    "adapter": adapter,
    "reinforcement": reinforcement,
    "tuning": tuning,
    "training": training,
    "evaluation": evaluation,
    "export": export,
    "attacks": attacks,
    "report": report,
}

#: Phases that some recipes do not need.
ONLY_WHERE: dict[str, Callable[[Job], bool]] = {
    "importance": lambda job: job.recipe.adapter.measured,
    "adapter": lambda job: job.method.adapts,
    "reinforcement": lambda job: job.objective.needs("reinforced"),
    "tuning": lambda job: job.method.finds_rate,
    # A run that was over before there were attacks stays as it is: `expunge attack` makes them.
    "attacks": lambda job: (
        job.recipe.attacks.budget != "none"
        and (job.folder.done("attacks") or job.folder.state.state != "done")
    ),
}
