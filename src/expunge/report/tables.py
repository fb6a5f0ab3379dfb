"""The rows of the report's tables, as plain data: the shown text, and the exact value behind it."""

from __future__ import annotations

from dataclasses import dataclass

from ..benchmarks.measures import AS_REFERENCE, AS_UNSEEN, in_order, label
from ..evaluation.metric import Metric
from ..folder.run import STAGES, RunFolder
from ..folder.state import SampledFacts, SetFacts, TrainingFacts
from . import quantities

PHASES = {
    "surrogate": "Sampling the retain set",
    "neighbours": "Sampling questions like those to forget",
    "baseline": "Evaluation before, and reference",
    "importance": "Importance",
    "adapter": "Adapter initialisation",
    "reinforcement": "Reinforced adapter",
    "tuning": "Finding the learning rate",
    "training": "Unlearning",
    "evaluation": "Evaluation after",
    "export": "Export",
    "attacks": "Attacks",
    "report": "Report",
}


@dataclass(frozen=True)
class Cell:
    """One figure: its exact value (None where there is none), as shown, and its 95 % interval as shown."""

    value: float | None
    shown: str
    interval: str = ""


@dataclass(frozen=True)
class MetricRow:
    name: str
    label: str
    better: str
    n: str
    cells: list[Cell]


def metric_rows(folder: RunFolder) -> list[MetricRow]:
    """One row a metric, its cells in the order before, after, reference."""
    stages = [folder.metrics(stage) for stage in STAGES]
    names = in_order({name for stage in stages for name in stage})
    return [_metric_row(name, [stage.get(name) for stage in stages]) for name in names]


def _metric_row(name: str, metrics: list[Metric | None]) -> MetricRow:
    cells = [
        Cell(metric.value, quantities.number(metric.value), quantities.interval(metric.low, metric.high))
        if metric
        else Cell(None, quantities.NONE)
        for metric in metrics
    ]
    counts = [metric.n for metric in metrics if metric]
    same = len(set(counts)) == 1
    n = (
        quantities.count(counts[0])
        if same
        else " / ".join(quantities.count(m.n if m else None) for m in metrics)
    )
    text, better = label(name)
    if better == AS_REFERENCE and metrics[STAGES.index("reference")] is None:
        better = AS_UNSEEN
    return MetricRow(name, text, better, n, cells)


@dataclass(frozen=True)
class TrialRow:
    """A training at one learning rate. end: whether it kept the utility, and why it ended early where it did"""

    number: int
    learning_rate: Cell
    forget_score: Cell
    utility: Cell
    best_epoch: str
    end: str
    chosen: bool


def trial_rows(folder: RunFolder) -> list[TrialRow]:
    """The trials that looked for the learning rate, from the lowest to the highest."""
    tuning = folder.state.tuning
    trials = enumerate(tuning.trials if tuning else (), start=1)
    return [
        TrialRow(
            number,
            Cell(trial.learning_rate, f"{trial.learning_rate:g}"),
            Cell(trial.forget_score, quantities.number(trial.forget_score)),
            Cell(trial.utility, quantities.number(trial.utility)),
            quantities.count(trial.best_epoch),
            trial.state + (f" ({trial.stopped})" if trial.stopped else ""),
            tuning is not None and number == tuning.chosen,
        )
        for number, trial in sorted(trials, key=lambda numbered: numbered[1].learning_rate)
    ]


@dataclass(frozen=True)
class CostRow:
    label: str
    seconds: Cell
    flops: Cell
    peak_memory: Cell


def cost_rows(folder: RunFolder) -> list[CostRow]:
    """One row a phase that ran, and the whole: seconds and FLOPs added up, the largest of the memory peaks."""
    phases = folder.state.phases
    done = {name: phases[name] for name in [*PHASES, *sorted(set(phases) - set(PHASES))] if name in phases}
    # The phase that writes this report is not over yet: it has no figures to show.
    done = {name: phase for name, phase in done.items() if phase.seconds is not None}
    if not done:
        return []

    def known(key: str) -> list[float]:
        return [value for phase in done.values() if (value := getattr(phase, key)) is not None]

    rows = [
        _cost_row(PHASES.get(name, name), phase.seconds, phase.flops, phase.peak_memory_bytes)
        for name, phase in done.items()
    ]
    flops, peaks = known("flops"), known("peak_memory_bytes")
    total = _cost_row(
        "In all", sum(known("seconds")), sum(flops) if flops else None, max(peaks) if peaks else None
    )
    return [*rows, total]


def _cost_row(label: str, seconds: float | None, flops: float | None, peak: float | None) -> CostRow:
    return CostRow(
        label,
        Cell(seconds, quantities.duration(seconds)),
        Cell(flops, quantities.number(flops)),
        Cell(peak, quantities.size(peak)),
    )


def request_rows(folder: RunFolder) -> list[tuple[str, str]]:
    """The request of the run as (what, its value), in the order in which a reader asks.

    Without the hash of the forget set: that of a short text is found by hashing every candidate.
    """
    run = folder.state
    model, data = run.model, run.data
    rows = [
        ("Run", run.name),
        ("Model", model.path),
        ("Adapters beneath", ", ".join(beneath(folder))),
        ("Fingerprint of the model", model.fingerprint),
        ("Forget set", _data(data.forget)),
        ("Retain set", _data(data.retain)),
        ("Hash of the retain set", data.retain.hash if data.retain else None),
        ("Samples of the model itself", _sampled(data.surrogate)),
        ("Questions like those to forget, kept as well", _sampled(data.neighbours)),
        ("Method", method(folder)),
        ("Left out", run.adapter.unreached.line if run.adapter.unreached else None),
        ("Training", _training(folder)),
        ("Chosen epoch", _chosen(run.training)),
        ("Seed", run.seed),
        (
            "Date",
            " to ".join(
                f"{moment[:16].replace('T', ' ')} UTC" for moment in (run.started, run.finished) if moment
            ),
        ),
    ]
    return [(what, str(value)) for what, value in rows if value not in (None, "")]


def beneath(folder: RunFolder) -> list[str]:
    """The adapters that the model that is to forget holds already."""
    recipe = folder.written_recipe
    return recipe.model.adapters if recipe else []


def method(folder: RunFolder) -> str:
    """The method in one line, from the recipe and the adapter that was made."""
    recipe, adapter = folder.written_recipe, folder.state.adapter
    parts = []
    if recipe and recipe.method.name != "unlearn":
        settings = recipe.method.model_dump(mode="json", exclude={"name"}, exclude_none=True)
        listed = ", ".join(f"{key} {value}" for key, value in settings.items())
        parts.append(f"{recipe.method.name} ({listed})" if listed else recipe.method.name)
    if adapter.initialization:
        parts.append(
            f"LoRA, {adapter.initialization} initialisation, rank {adapter.rank}, α {adapter.alpha}"
            + (f", {adapter.modules} modules" if adapter.modules else "")
        )
    if recipe and "objective" not in recipe.method.unused:
        objective = recipe.objective
        parts.append(f"forget loss {objective.forget}")
        if objective.retain:
            first, last = objective.retain_weights
            weight = f"{first:g}" if first == last else f"{first:g} rising to {last:g} while utility is lost"
            parts.append(f"retain loss {objective.retain} with weight {weight}")
    return "; ".join(parts)


def _data(data: SetFacts | None) -> str | None:
    return examples(data, data.source) if data else None


def examples(data: SetFacts, source: str) -> str:
    """How many there are, and from where."""
    return f"{quantities.count(data.n)} {'example' if data.n == 1 else 'examples'} from {source}"


def _sampled(facts: SampledFacts | None) -> str | None:
    """How the samples of the model itself came about."""
    if not facts:
        return None
    reasons = [f"{quantities.count(number)} {reason}" for reason, number in facts.rejected.items()]
    rejected = f" ({', '.join(reasons)})" if reasons else ""
    return (
        f"{quantities.count(facts.drawn)} drawn, {quantities.count(facts.drawn - facts.samples)} "
        f"rejected{rejected}, {quantities.count(facts.samples)} kept"
    )


def _training(folder: RunFolder) -> str | None:
    """The settings as they were used; the recipe's where it leaves none open, or the run has not got so far."""
    facts, recipe = folder.state.training, folder.written_recipe
    used = facts.settings if facts else None
    if used is None and recipe:
        used = recipe.training.model_dump(mode="json")
    if used is None:
        return None
    return (
        f"epochs {used['epochs']}, batch size {used['batch_size']}, learning rate {used['learning_rate']}, "
        f"schedule {used['schedule']}"
    )


def _chosen(training: TrainingFacts | None) -> str | None:
    if not training or not training.best_epoch:
        return None
    return f"{training.best_epoch} of {training.epochs} ({quantities.count(training.steps)} steps in all)"
