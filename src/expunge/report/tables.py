"""The rows of the report's tables, as plain data: what is shown, and the exact value behind it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..benchmarks.measures import AS_REFERENCE, AS_UNSEEN, in_order, label
from ..evaluation.metric import Metric
from ..folder.reading import STAGES, RunFolder
from . import quantities

PHASES = {
    "surrogate": "Sampling the retain set",
    "baseline": "Evaluation before, and reference",
    "importance": "Importance",
    "adapter": "Adapter initialisation",
    "reinforcement": "Reinforced adapter",
    "training": "Unlearning",
    "evaluation": "Evaluation after",
    "export": "Export",
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
class CostRow:
    label: str
    seconds: Cell
    flops: Cell
    peak_memory: Cell


def cost_rows(folder: RunFolder) -> list[CostRow]:
    """One row a phase that ran, and the whole: seconds and FLOPs added up, the largest of the memory peaks."""
    phases: Mapping[str, Any] = folder.run.get("phases") or {}
    done = {name: phases[name] for name in [*PHASES, *sorted(set(phases) - set(PHASES))] if name in phases}
    # The phase that writes this report is not over yet: it has no figures to show.
    done = {name: phase for name, phase in done.items() if phase.get("seconds") is not None}
    if not done:
        return []

    def known(key: str) -> list[float]:
        return [phase[key] for phase in done.values() if phase.get(key) is not None]

    rows = [
        _cost_row(
            PHASES.get(name, name), phase.get("seconds"), phase.get("flops"), phase.get("peak_memory_bytes")
        )
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
    """What was asked: (what, its value), in the order in which a reader asks."""
    run, recipe = folder.run, folder.recipe
    model, data = run.get("model") or {}, run.get("data") or {}
    rows = [
        ("Run", run.get("name")),
        ("Model", model.get("path")),
        ("Adapters beneath", ", ".join((recipe.get("model") or {}).get("adapters") or [])),
        ("Fingerprint of the model", model.get("fingerprint")),
        ("Forget set", _data(data.get("forget"))),
        ("Hash of the forget set", (data.get("forget") or {}).get("hash")),
        ("Retain set", _data(data.get("retain"))),
        ("Hash of the retain set", (data.get("retain") or {}).get("hash")),
        ("Samples of the model itself", _surrogate(data.get("surrogate"))),
        ("Method", method(folder)),
        ("Training", _training(recipe.get("training") or {})),
        ("Chosen epoch", _chosen(folder.training)),
        ("Seed", run.get("seed")),
        (
            "Date",
            " to ".join(
                f"{str(run[key])[:16].replace('T', ' ')} UTC"
                for key in ("started", "finished")
                if run.get(key)
            ),
        ),
    ]
    return [(what, str(value)) for what, value in rows if value not in (None, "")]


def method(folder: RunFolder) -> str:
    """The method in one line, from the recipe and the adapter that was made."""
    adapter = folder.run.get("adapter") or {}
    objective = folder.recipe.get("objective") or {}
    parts = []
    settings = dict(folder.recipe.get("method") or {})
    name = settings.pop("name", "unlearn")
    if name != "unlearn":
        given = ", ".join(f"{key} {value}" for key, value in settings.items() if value is not None)
        parts.append(f"{name} ({given})")
    if adapter.get("initialization"):
        parts.append(
            f"LoRA, {adapter['initialization']} initialisation, rank {adapter.get('rank')}, α "
            f"{adapter.get('alpha')}, {adapter.get('modules')} modules"
        )
    if objective.get("forget"):
        parts.append(f"forget loss {objective['forget']}")
    if objective.get("retain"):
        weight = objective.get("retain_weight")
        parts.append(
            f"retain loss {objective['retain']}" + (f" with weight {weight:g}" if weight is not None else "")
        )
    return "; ".join(parts)


def _data(data: Mapping[str, Any] | None) -> str | None:
    if not data:
        return None
    examples = "example" if data.get("n") == 1 else "examples"
    return f"{quantities.count(data.get('n'))} {examples} from {data.get('source')}"


def _surrogate(facts: Mapping[str, Any] | None) -> str | None:
    """How the surrogate for a retain set came about."""
    if not facts:
        return None
    reasons = [f"{quantities.count(number)} {reason}" for reason, number in facts["rejected"].items()]
    rejected = f" ({', '.join(reasons)})" if reasons else ""
    return (
        f"{quantities.count(facts['drawn'])} drawn, {quantities.count(facts['drawn'] - facts['samples'])} "
        f"rejected{rejected}, {quantities.count(facts['samples'])} kept"
    )


def _training(training: Mapping[str, Any]) -> str:
    names = {
        "epochs": "epochs",
        "batch_size": "batch size",
        "learning_rate": "learning rate",
        "schedule": "schedule",
    }
    return ", ".join(
        f"{text} {training[key]}" for key, text in names.items() if training.get(key) is not None
    )


def _chosen(training: Mapping[str, Any]) -> str | None:
    if not training.get("best_epoch"):
        return None
    steps = quantities.count(training.get("steps"))
    return f"{training['best_epoch']} of {training.get('epochs')} ({steps} steps in all)"
