"""The papers' tables of means and their pictures, from run folders that the commands of docs/papers-*.md made.

    python experiments/papers/draw.py table-1  runs/loku/gpt-neo-*/* --output table-1.md
    python experiments/papers/draw.py figure-2 runs/loku/gpt-neo-125m/* --output figure-2.svg
    python experiments/papers/draw.py figure-3 runs/loku/gpt-neo-*/* --output figure-3.svg
    python experiments/papers/draw.py figure-4 runs/loku/layers/* --output figure-4.svg
    python experiments/papers/draw.py figure-5 runs/loku/phi-1.5/* --output figure-5.svg
    python experiments/papers/draw.py figure-6 runs/loku/continual/* --output figure-6.svg
    python experiments/papers/draw.py figure-7 runs/loku/phi-1.5/* --output figure-7.svg
    python experiments/papers/draw.py vila-cost   runs/vila/official/* runs/vila/retrain/* --output vila-cost.svg
    python experiments/papers/draw.py vila-layers runs/vila/layers/* --output vila-layers.svg

What `expunge eval … --output RUN.reasoning.json` (`.dialogue.json`, `.pile.json`) measured of a run's result lies
beside the run's folder, what it measured of the model before in `before.reasoning.json` there; a picture leaves out
what is not there. Means are over the forget sets, and over repeats with another seed, of one
model, method, rank and set of layers; ± is the standard deviation. A run counts as successful where its thresholds were
reached.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from expunge.evaluation.metric import Metric
from expunge.folder.requests import ContinualFolder
from expunge.folder.run import RunFolder, read_run_folder
from expunge.storage import read_json

#: What LoKU's figures 2, 3, 4 and 6 have on their vertical axes: name → (log beside the run, metric, scale).
CAPABILITIES = {
    "reasoning": ("reasoning", "reasoning_accuracy", "linear"),
    "dialogue": ("dialogue", "dialogue_f1", "linear"),
    "Pile perplexity": ("pile", "retain_perplexity", "log"),
}
COLOURS = {
    "GA": "#7a7a7a", "GD": "#b5533c", "IHL": "#c9972b", "GD+FILA": "#5a7d4f", "LoKU": "#2f5d8a",
    "GA, all weights": "#7a7a7a", "GD, all weights": "#8a5d7d",
    "IHL, all weights": "#5d8a86", "KL": "#7a7a7a", "DPO": "#5a7d4f", "NPO": "#c9972b", "GA+FILA": "#8a5d7d",
}  # fmt: skip
PHASES = ("importance", "adapter", "training")


@dataclass(frozen=True)
class Row:
    """A run, as the papers' tables see it.

    model, method, forget, rank, targets, layers: what was asked for; rank None where all weights were trained
    reached: whether the thresholds were; epochs: that were trained
    metrics: after unlearning, of the model before it, and of the reference; by name
    course: the same after each epoch that was measured
    flops, seconds: by phase; stored: bytes of the importance file
    """

    model: str
    method: str
    forget: str
    rank: int | None
    targets: str = ""
    layers: float = 1.0
    reached: bool = True
    epochs: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    before: dict[str, float] = field(default_factory=dict)
    reference: dict[str, float] = field(default_factory=dict)
    course: list[dict[str, float]] = field(default_factory=list)
    flops: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    stored: int = 0


NAMES = {("ga", "none"): "GA", ("ga", "nll"): "GD", ("ga", "kl"): "KL", ("ihl", "nll"): "IHL", ("dpo", "nll"): "DPO",
         ("npo", "nll"): "NPO"}  # fmt: skip


def method_of(recipe: Any) -> str:
    """What the papers call it: the losses, and behind a plus the initialisation; LoKU is IHL+FILA."""
    if recipe.method.name == "retrain":
        return "retrain"
    losses = recipe.objective.forget, recipe.objective.retain
    name = NAMES.get(losses, "+".join(losses))
    if recipe.method.name == "all_weights":
        return f"{name}, all weights"
    start = recipe.adapter.initialization
    name += "" if start == "default" else f"+{start.upper()}"
    return "LoKU" if name == "IHL+FILA" else name


def read_row(folder: RunFolder, beside: Path) -> Row:
    """beside: the run's folder, whose name the logs that were measured of its result begin with"""
    recipe, state = folder.recipe, folder.state
    whole = recipe.method.name in ("all_weights", "retrain")
    rows = folder.epochs
    chosen = state.training.best_epoch if state.training else None
    return Row(
        model=recipe.model.path.rpartition("/")[2] if "/tofu/" not in recipe.model.path
        else recipe.model.path.split("/")[-2],
        method=method_of(recipe),
        forget=str(recipe.data.forget),
        rank=None if whole else recipe.adapter.rank,
        targets=str(recipe.adapter.targets),
        layers=recipe.adapter.layers,
        reached=not recipe.stopping.rule or any(row.reached for row in rows if row.epoch == chosen),
        epochs=state.training.epochs if state.training else 0,
        metrics=values(folder.metrics("after")) | capabilities(beside),
        before=values(folder.metrics("before")) | capabilities(beside.with_name("before")),
        reference=values(folder.metrics("reference")),
        course=[values(row.metrics) for row in rows],
        flops={name: phase.flops or 0.0 for name, phase in state.phases.items()},
        seconds={name: phase.seconds or 0.0 for name, phase in state.phases.items()},
        stored=folder.importance_file.stat().st_size if folder.importance_file.exists() else 0,
    )  # fmt: skip


def values(metrics: Mapping[str, Metric]) -> dict[str, float]:
    return {name: metric.value for name, metric in metrics.items()}


def capabilities(beside: Path) -> dict[str, float]:
    """Reasoning, dialogue and the Pile's perplexity, from the logs beside the run's folder."""
    found = {}
    for name, (log, metric, _) in CAPABILITIES.items():
        file = beside.with_name(f"{beside.name}.{log}.json")
        if file.is_file():
            found[name] = read_json(file)["metrics"][metric]["value"]
    return found


def read(folders: Iterable[Path]) -> list[Row]:
    return [read_row(read_run_folder(folder), folder) for folder in folders if (folder / "run.json").exists()]


def mean(numbers: Sequence[float]) -> str:
    """`0.1234 ± 0.0056 (5)`: mean, standard deviation, count; a dash for none."""
    if not numbers:
        return "–"
    spread = f" ± {statistics.stdev(numbers):.3g}" if len(numbers) > 1 else ""
    return f"{statistics.fmean(numbers):.4g}{spread} ({len(numbers)})"


def table_1(rows: Sequence[Row]) -> str:
    """Means over the forget sets and repeats, as Markdown; a line a model, rank and method."""
    columns = {
        "epochs": lambda row: row.epochs,
        "EL₁₀ %": lambda row: 100 * row.metrics.get("forget_extraction_likelihood", math.nan),
        "MA %": lambda row: 100 * row.metrics.get("forget_memorization_accuracy", math.nan),
        **{name: lambda row, name=name: row.metrics.get(name, math.nan) for name in CAPABILITIES},
    }
    lines = [
        f"| model | rank | method | succeeded | {' | '.join(columns)} |",
        f"| --- | --- | --- | --- |{' --- |' * len(columns)}",
    ]

    def key(row: Row) -> tuple[str, int, str]:
        return row.model, row.rank or 0, row.method

    for (model, rank, method), group in groupby(sorted(rows, key=key), key):
        runs = list(group)
        cells = [
            mean([number for run in runs if not math.isnan(number := value(run))])
            for value in columns.values()
        ]
        reached = f"{sum(run.reached for run in runs)} of {len(runs)}"
        lines.append(f"| {model} | {rank or 'all weights'} | {method} | {reached} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _panels(width: int, height: int = 1) -> tuple[Figure, Any]:
    return pyplot.subplots(
        height, width, figsize=(4 * width, 3.2 * height), squeeze=False, layout="constrained"
    )


def _capability_panels(rows: Sequence[Row], place: Callable[[Row], float], label: str) -> Figure:
    """Reasoning, dialogue and perplexity over `place`: a circle a successful run, a cross a failed one; the line is
    the mean of the successful ones, dashed the model before unlearning."""
    figure, axes = _panels(len(CAPABILITIES))
    for panel, (name, (_, _, scale)) in zip(axes[0], CAPABILITIES.items(), strict=True):
        for method in dict.fromkeys(row.method for row in rows):
            there = [row for row in rows if row.method == method and name in row.metrics]
            colour = COLOURS.get(method)
            for shape, part in (
                ("o", [row for row in there if row.reached]),
                ("x", [row for row in there if not row.reached]),
            ):
                panel.scatter(
                    [place(row) for row in part],
                    [row.metrics[name] for row in part],
                    marker=shape,
                    color=colour,
                    label=method if shape == "o" else None,
                    gid=f"{method} {shape}",
                )
            means = {
                x: statistics.fmean(row.metrics[name] for row in there if row.reached and place(row) == x)
                for x in sorted({place(row) for row in there if row.reached})
            }
            panel.plot(list(means), list(means.values()), color=colour, gid=f"{method} mean")
        before = [row.before[name] for row in rows if name in row.before]
        if before:
            panel.axhline(statistics.fmean(before), color="#555555", linestyle="--")
        panel.set(title=name, xlabel=label, yscale=scale)
    axes[0][0].legend(fontsize="small")
    return figure


def figure_2(rows: Sequence[Row]) -> Figure:
    """Cost of unlearning against what is left of the model's capabilities."""
    figure = _capability_panels(
        rows, lambda row: sum(row.flops.get(phase, 0.0) for phase in PHASES), "FLOPs of unlearning"
    )
    for panel in figure.axes:
        panel.set_xscale("log")
        for line in [line for line in panel.lines if (line.get_gid() or "").endswith("mean")]:
            line.remove()  # the figure has points alone
    return figure


def figure_3(rows: Sequence[Row]) -> Figure:
    """Capabilities over the rank; the runs of one model."""
    figure = _capability_panels([row for row in rows if row.rank], lambda row: float(row.rank or 0), "rank")
    for panel in figure.axes:
        panel.set_xscale("log", base=2)
    return figure


def figure_4(rows: Sequence[Row]) -> Figure:
    """Capabilities over the sets of layers that are adapted."""
    names = ["q_v", "qkvo", "ffn", "q_v_ffn"]
    figure = _capability_panels(rows, lambda row: float(names.index(row.targets)), "layers")
    for panel in figure.axes:
        panel.set_xticks(range(len(names)), ["QV", "QKVO", "FFN", "QVFFN"])
    return figure


def curves(rows: Sequence[Row], methods: Sequence[str]) -> Figure:
    """Model utility against Forget Quality over the epochs, a row of panels a forget set, a column a rank; ■ the
    original, ★ the reference, a marker the larger the later its epoch."""
    rows = [row for row in rows if row.method in methods and row.rank]
    sets, ranks = sorted({row.forget for row in rows}), sorted({row.rank or 0 for row in rows})
    figure, axes = _panels(max(1, len(ranks)), max(1, len(sets)))
    for row in rows:
        panel: Axes = axes[sets.index(row.forget)][ranks.index(row.rank or 0)]
        points = [point for epoch in (row.before, *row.course) if (point := _utility_and_quality(epoch))]
        sizes = [20 * (1 + number) for number in range(len(points))]
        xs, ys = [list(each) for each in zip(*points, strict=True)] if points else ([], [])
        panel.plot(xs, ys, color=COLOURS.get(row.method), linewidth=1)
        panel.scatter(
            xs, ys, s=sizes, color=COLOURS.get(row.method), alpha=0.7, label=row.method, gid=row.method
        )
        for shape, side in (("s", row.before), ("*", row.reference)):
            if at := _utility_and_quality(side):
                panel.scatter(*at, marker=shape, s=90, color="black", zorder=3)
        panel.set(
            title=f"{row.forget}, rank {row.rank}", xlabel="model utility", ylabel="log₁₀ forget quality"
        )
    if rows:
        axes[0][0].legend(fontsize="small")
    return figure


def _utility_and_quality(metrics: dict[str, float]) -> tuple[float, float] | None:
    """None where one is missing; the reference's own forget quality is 1, of logarithm 0."""
    utility = metrics.get("model_utility")
    quality = metrics.get("forget_quality_log10")
    return None if utility is None or quality is None else (utility, quality)


def figure_6(folders: Sequence[Path]) -> Figure:
    """Capabilities after each task, and the last panel what is left of all tasks so far (mean EL₁₀)."""
    figure, axes = _panels(len(CAPABILITIES) + 1)
    for folder in folders:
        several = ContinualFolder(folder)
        runs = [several.request(number) for number in range(1, len(several.state.requests) + 1)]
        method = method_of(runs[0].recipe)
        after = [capabilities(run.path) for run in runs]
        for panel, (name, (_, _, scale)) in zip(axes[0], CAPABILITIES.items(), strict=False):
            there = [(number, each[name]) for number, each in enumerate(after, start=1) if name in each]
            panel.plot(
                *zip(*there, strict=True) if there else ([], []),
                marker="o",
                label=method,
                color=COLOURS.get(method),
            )
            panel.set(title=name, xlabel="task", yscale=scale)
        left = [_likelihood_left(run, number) for number, run in enumerate(runs, start=1)]
        axes[0][-1].plot(range(1, len(left) + 1), left, marker="o", label=method, color=COLOURS.get(method))
    axes[0][-1].set(title="EL₁₀ of all tasks so far", xlabel="task")
    axes[0][-1].legend(fontsize="small")
    return figure


def _likelihood_left(run: RunFolder, number: int) -> float:
    """The mean EL₁₀ of the tasks up to `number`, after it."""
    name = "forget_extraction_likelihood"
    own = run.metrics("after")[name].value
    earlier = [
        read_json(run.evaluation(f"request-{each}"))["metrics"][name]["value"] for each in range(1, number)
    ]
    return statistics.fmean([*earlier, own])


def vila_cost(rows: Sequence[Row]) -> Figure:
    """Hours of retraining, and of FILA's and VILA's extraction and unlearning, over the forget sets."""
    figure, axes = _panels(1)
    panel = axes[0][0]
    sets = sorted({row.forget for row in rows})
    methods = list(dict.fromkeys(row.method for row in rows))
    for row in rows:
        place = sets.index(row.forget) + 0.8 * methods.index(row.method) / len(methods)
        bottom = 0.0
        for phase in PHASES:
            hours = row.seconds.get(phase, 0.0) / 3600
            panel.bar(place, hours, bottom=bottom, width=0.7 / len(methods), gid=f"{row.method} {phase}",
                      color=["#2f5d8a", "#c9972b", "#5a7d4f"][PHASES.index(phase)])  # fmt: skip
            bottom += hours
        panel.annotate(
            f"{row.method.replace('LoKU', 'IHL+FILA')}\n{row.stored / 1e6:.3g} MB",
            (place, bottom),
            ha="center",
            va="bottom",
            fontsize=7,
        )
    panel.set_xticks([place + 0.3 for place in range(len(sets))], sets)
    panel.set(ylabel="hours")
    panel.set_title(
        "blue: extraction, yellow: start, green: training\nabove: the stored importance", fontsize=9
    )
    panel.margins(y=0.15)
    return figure


def vila_layers(rows: Sequence[Row]) -> Figure:
    """log₁₀ Forget Quality over the share of the blocks that are adapted."""
    figure, axes = _panels(1)
    for method in dict.fromkeys(row.method for row in rows):
        there = sorted(
            (row.layers, row.metrics["forget_quality_log10"])
            for row in rows
            if row.method == method and "forget_quality_log10" in row.metrics
        )
        xs, ys = zip(*there, strict=True) if there else ((), ())
        axes[0][0].plot([100 * x for x in xs], ys, marker="o", label=method, gid=method)
    axes[0][0].set(xlabel="% of the blocks", ylabel="log₁₀ forget quality")
    axes[0][0].legend(fontsize="small")
    return figure


FIGURES: dict[str, Callable[[Sequence[Row]], Figure]] = {
    "figure-2": figure_2,
    "figure-3": figure_3,
    "figure-4": figure_4,
    "figure-5": lambda rows: curves(rows, ("GA", "GD", "IHL", "GD+FILA", "LoKU")),
    "figure-7": lambda rows: curves(rows, ("KL", "DPO", "NPO", "LoKU")),
    "vila-cost": vila_cost,
    "vila-layers": vila_layers,
}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["table-1", "figure-6", *FIGURES])
    parser.add_argument("runs", type=Path, nargs="+", help="run folders; what is none is left out")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args(arguments)
    given.output.parent.mkdir(parents=True, exist_ok=True)
    if given.what == "table-1":
        given.output.write_text(table_1(read(given.runs)), encoding="utf-8")
    elif given.what == "figure-6":
        figure_6([folder for folder in given.runs if (folder / "continual.json").exists()]).savefig(
            given.output
        )
    else:
        FIGURES[given.what](read(given.runs)).savefig(given.output)
    print(given.output)


if __name__ == "__main__":
    main()
