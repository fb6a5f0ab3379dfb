"""The pictures of the report. A picture is an `<svg>`, or None where the run has no data for it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ..benchmarks.measures import phrase
from ..benchmarks.tofu.metrics import forget_log_ratios
from ..evaluation.metric import Metric
from ..folder.run import STAGES, RunFolder
from ..folder.state import StepRow
from ..training.selection import UTILITY_SHARE
from .evidence import SIGNIFICANCE, rule_utility
from .quantities import count, number
from .svg import COLOURS, WIDTH, render, style

DASHES: dict[str, Any] = {"before": (0, (5, 2)), "after": "solid", "reference": (0, (1.5, 1.2))}


def utility_against_forgetting(folder: RunFolder) -> Markup | None:
    """The path over the epochs: forgetting to the right, utility upwards, the chosen epoch filled, the original a
    square, the reference a star; a triangle for the best epoch of every other trial of the learning rate.

    Forgetting is log₁₀ of Forget Quality where there is one, else 1 − the probability of the forget answers.
    """
    before, reference = folder.metrics("before"), folder.metrics("reference")
    epochs = {row.epoch: row.metrics for row in folder.epochs}
    sides = [before, *epochs.values()]
    training = folder.state.training
    utility = rule_utility(training.utility_metric if training else None, *map(_finite_names, sides))
    quality = _all_have("forget_quality_log10", sides)
    forgetting = "forget_quality_log10" if quality else "forget_probability"
    if not epochs or utility is None or not _all_have(forgetting, sides):
        return None

    def point(metrics: Mapping[str, Metric]) -> tuple[float, float]:
        value = metrics[forgetting].value
        return (value if quality else 1 - value), metrics[utility].value

    points = {epoch: point(metrics) for epoch, metrics in epochs.items()}
    others = [
        point(side) for side in _other_trials(folder) if _all_have(forgetting, [side]) and utility in side
    ]
    start = point(before)
    goal = None
    if utility in reference and (quality or forgetting in reference):
        goal = (0.0, reference[utility].value) if quality else point(reference)
    chosen = training.best_epoch if training else None
    share = training.utility_floor if training else UTILITY_SHARE

    with style("frontier"):
        figure = Figure(figsize=(WIDTH, 4.1), layout="constrained")
        axes = figure.add_subplot()
        axes.margins(0.07, 0.14)
        axes.plot(*_columns([start, *points.values()]), color=COLOURS["muted"], linewidth=1.2, zorder=2)
        axes.plot(*start, "s", color=COLOURS["before"], markersize=9, zorder=3)
        for place in others:
            axes.plot(*place, "^", color=COLOURS["muted"], markersize=6, zorder=2)
        for epoch, place in points.items():
            numbered(axes, epoch, place, filled=epoch == chosen)
        if goal:
            axes.plot(*goal, "*", color=COLOURS["reference"], markersize=14, zorder=3)
        line: dict[str, Any] = {
            "color": COLOURS["muted"],
            "linewidth": 1,
            "linestyle": (0, (4, 3)),
            "zorder": 1,
        }
        note: dict[str, Any] = {"color": COLOURS["muted"], "fontsize": 8.5}
        ground: dict[str, Any] = {"facecolor": COLOURS["paper"], "edgecolor": "none", "pad": 1}
        axes.axhline(share * start[1], **line)
        floor = f"{100 * share:g} % of the utility before"
        beside = axes.get_yaxis_transform()
        # Below the line, on a ground of its own: the path starts above it, and may fall through the words.
        axes.annotate(
            floor, (0.005, share * start[1]), xytext=(0, -3), xycoords=beside, textcoords="offset points",
            va="top", bbox=ground, zorder=2.5, **note,
        )  # fmt: skip
        if quality:
            axes.axvline(math.log10(SIGNIFICANCE), **line)
            top = axes.get_xaxis_transform()
            axes.text(
                math.log10(SIGNIFICANCE), 1.01, f"p = {SIGNIFICANCE}", transform=top, ha="center", **note
            )
        if quality:
            meaning = "Forget Quality (log₁₀ p): at 0,\nlike a model that never saw the data"
        else:
            meaning = "1 − mean probability of the forget answers:\nfurther right is less recalled"
        axes.set_xlabel(f"{meaning} (N = {count(before[forgetting].n)})")
        height = _first_capital(phrase(utility).replace(" without generated answers", ""))
        axes.set_ylabel(f"{height}\n(N = {count(before[utility].n)})")
        legend(
            figure,
            [
                marker("s", "before", "original"),
                marker("o", "after", "epoch (the chosen one is filled)"),
                *([marker("^", "muted", "trial of another learning rate")] if others else []),
                *([marker("*", "reference", "reference")] if goal else []),
            ],
        )
        shown = chosen if chosen in points else list(points)[-1]
        x, y = points[shown]
        description = (
            f"Utility against forgetting over {len(points)} epochs: from {number(start[0])} and utility "
            f"{number(start[1])} before, to {number(x)} and utility {number(y)} at epoch {shown}."
        )
        return render(figure, "frontier", description)


def truth_ratio_distributions(folder: RunFolder) -> Markup | None:
    """The share of forget questions with a truth ratio up to x: before, after, reference."""
    ratios = {
        stage: np.exp(forget_log_ratios(folder.logs[stage])) for stage in STAGES if stage in folder.logs
    }
    ratios = {stage: r[np.isfinite(r) & (r > 0)] for stage, r in ratios.items()}
    ratios = {stage: r for stage, r in ratios.items() if len(r)}
    if not ratios:
        return None
    with style("truth-ratio"):
        counts = list(dict.fromkeys(count(len(values)) for values in ratios.values()))
        n = " / ".join(counts)  # one number where all stages have the same questions
        figure = Figure(figsize=(WIDTH, 3.5), layout="constrained")
        axes = figure.add_subplot()
        axes.set_xscale("log")
        for stage, values in ratios.items():
            text = f"{stage} (median {number(float(np.median(values)))})"
            axes.ecdf(values, color=COLOURS[stage], linestyle=DASHES[stage], label=text)
        axes.axvline(1, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.xaxis.set_minor_formatter(FuncFormatter(lambda value, _: ""))
        axes.set_xlabel(
            "truth ratio R: small, the right answer is preferred;\n1, it is not told from wrong ones"
        )
        axes.set_ylabel(f"share of the forget questions\n(N = {n})")
        axes.set_ylim(0, 1.02)
        legend(figure, axes.get_legend_handles_labels()[0])
        medians = ", ".join(f"{stage} {number(float(np.median(values)))}" for stage, values in ratios.items())
        return render(
            figure, "truth-ratio", f"Distribution of the truth ratio on the forget set; medians: {medians}."
        )


def loss_curves(folder: RunFolder) -> Markup | None:
    """The forget and the retain loss of every optimiser step, a panel for either."""
    names = [
        name
        for name in ("forget_loss", "retain_loss")
        if any(_finite(getattr(row, name)) for row in folder.steps)
    ]
    if not names:
        return None
    steps = [row.step for row in folder.steps]
    ends = [row.step for row in folder.epochs]
    best = folder.state.training.best_epoch if folder.state.training else None
    chosen = next((row.step for row in folder.epochs if row.epoch == best), None)
    with style("losses"):
        figure = Figure(figsize=(WIDTH, 0.5 + 1.6 * len(names)), layout="constrained")
        panels = figure.subplots(len(names), 1, sharex=True, squeeze=False)[:, 0]
        for axes, name in zip(panels, names, strict=True):
            values = [_number(getattr(row, name)) for row in folder.steps]
            axes.plot(
                steps, values, color=COLOURS["before" if name == "forget_loss" else "after"], linewidth=1.3
            )
            axes.set_ylabel(name.replace("_", " "))
            axes.grid(axis="x", visible=False)
            for end in ends:
                axes.axvline(end, color=COLOURS["grid"], linewidth=0.8, zorder=0)
            if chosen is not None:
                axes.axvline(chosen, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        panels[-1].set_xlabel("optimiser step\n(vertical lines: ends of epochs; dashed: the chosen one)")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True))
        parts = [f"{name.replace('_', ' ')} {_ends_of(folder.steps, name)}" for name in names]
        return render(
            figure, "losses", f"Loss per optimiser step over {len(steps)} steps: {'; '.join(parts)}."
        )


def _other_trials(folder: RunFolder) -> list[Mapping[str, Metric]]:
    """Metrics at the best epoch of the trials that were not handed over, where their files are still there."""
    tuning = folder.state.tuning
    return [
        row.metrics
        for number, trial in enumerate(tuning.trials if tuning else (), start=1)
        if tuning and number != tuning.chosen
        for row in folder.trial(number).epochs
        if row.epoch == trial.best_epoch
    ]


def _ends_of(rows: Sequence[StepRow], name: str) -> str:
    values = [value for row in rows if _finite(value := getattr(row, name))]
    return f"from {number(values[0])} to {number(values[-1])}"


def _all_have(name: str, sides: Sequence[Mapping[str, Metric]]) -> bool:
    return all(name in _finite_names(side) for side in sides)


def _finite_names(side: Mapping[str, Metric]) -> list[str]:
    return [name for name, metric in side.items() if math.isfinite(metric.value)]


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _number(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else math.nan


def _columns(points: Sequence[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in points], [y for _, y in points]


def numbered(axes: Axes, name: int, place: tuple[float, float], filled: bool) -> None:
    face, text = ("after", "paper") if filled else ("paper", "after")
    edge = COLOURS["after"]
    axes.plot(*place, "o", markersize=13, markerfacecolor=COLOURS[face], markeredgecolor=edge, zorder=4)
    axes.annotate(
        str(name), place, ha="center", va="center_baseline", fontsize=8, color=COLOURS[text], zorder=5
    )


def marker(shape: str, colour: str, text: str) -> Line2D:
    face = COLOURS["paper"] if shape == "o" else COLOURS[colour]
    return Line2D(
        [],
        [],
        marker=shape,
        linestyle="",
        markersize=8,
        markerfacecolor=face,
        markeredgecolor=COLOURS[colour],
        label=text,
    )


def legend(figure: Figure, handles: Sequence[Any]) -> None:
    """Draw the legend above the axes, where it hides nothing, in as many columns as fit."""
    lengths = [len(handle.get_label()) for handle in handles]

    def width(columns: int) -> float:
        """In points: letters, and beside each column's a marker and a gap."""
        rows = math.ceil(len(lengths) / columns)
        widest = (max(lengths[start : start + rows]) for start in range(0, len(lengths), rows))
        return sum(5.2 * letters + 42 for letters in widest)

    fitting = [columns for columns in range(1, len(handles) + 1) if width(columns) <= 72 * WIDTH]
    figure.legend(handles=handles, loc="outside upper left", ncols=max(fitting, default=1))


def _first_capital(text: str) -> str:
    return text[0].upper() + text[1:]
