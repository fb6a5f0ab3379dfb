"""report.html of a sweep: the trials, which of them is handed over, and utility against forgetting."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure

from ..folder.sweep import Point, SweepFolder, SweepState, SweepTrial, TrialResult
from ..storage import write_text
from ..training.selection import UTILITY_SHARE
from .figures import legend, marker, numbered
from .page import templates
from .quantities import NONE, number, percent
from .svg import COLOURS, WIDTH, render, style
from .tables import Cell
from .verdict import in_one_line


@dataclass(frozen=True)
class Row:
    """end: how the trial ended, in words; report: its run's, from the sweep's folder, None where it has none"""

    number: int
    values: list[str]
    end: str
    cells: list[Cell]
    epoch: str
    report: str | None
    chosen: bool
    front: bool


def write_sweep_report(path: Path) -> Path:
    """Write `report.html` from `sweep.json`, and return its path. The same file gives the same bytes.

    Raises `InputError` where it is no folder of a sweep or `sweep.json` is damaged.
    """
    folder = SweepFolder(path)
    state = folder.state
    results = [trial.result for trial in state.begun if trial.result]
    text = (
        templates()
        .get_template("sweep.html.j2")
        .render(
            run={
                "name": state.name,
                "command": " ".join(state.command),
                "versions": state.versions,
                "recipe": folder.recipe_text,
            },
            headline=verdict_line(state) or "No trial has ended yet.",
            trials=state.trials,
            over=len(results),
            sampler=state.sampler,
            prune=state.prune,
            keys=keys(state),
            rows=[_row(folder, trial) for trial in state.begun],
            halves=next((result.questions for result in results if result.questions), None),
            chosen=state.best,
            chosen_folder=folder.trial_path(state.chosen) if state.chosen is not None else None,
            deliverable=state.deliverable,
            share=UTILITY_SHARE,
            figure=utility_against_forgetting(state),
        )
    )
    write_text(folder.report_file, text)
    return folder.report_file


def verdict_line(state: SweepState) -> str | None:
    """What the sweep has come to, in one line; None before a trial has ended."""
    if not any(trial.result for trial in state.begun):
        return None
    verdict = state.verdict
    said = in_one_line(verdict.headline, verdict.against, verdict.next) if verdict else ""
    if state.best is None:
        return f"No trial left a model. {said}".strip()
    return f"Trial {state.chosen}: {said}"


def keys(state: SweepState) -> list[str]:
    """The keys of the space, as the trials name them."""
    return list(state.begun[0].values) if state.begun else []


def _row(folder: SweepFolder, trial: SweepTrial) -> Row:
    result = trial.result or TrialResult(state="done", score=None, utility=None)
    run = folder.trial(trial.number)
    figures = (result.choosing, result.reporting, result.score, result.utility)
    share = Cell(result.share, NONE if result.share is None else percent(result.share))
    return Row(
        number=trial.number,
        values=[shown(value) for value in trial.values.values()],
        end=end(trial),
        cells=[*(Cell(value, number(value)) for value in figures), share],
        epoch=f"{result.epoch} of {result.epochs}" if result.epoch else NONE,
        report=f"{folder.trial_path(trial.number)}/report.html" if run.report_file.exists() else None,
        chosen=trial.number == folder.state.chosen,
        front=trial.front,
    )


def end(trial: SweepTrial) -> str:
    """How a trial ended, in a word or two."""
    if trial.result is None:
        return "running"
    if trial.result.state == "done" and not trial.result.qualified:
        return "utility lost"
    return trial.result.state


def shown(value: Any) -> str:
    """A value of the recipe, numbers to four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def utility_against_forgetting(state: SweepState) -> Markup | None:
    """Every trial that left a model, by all forget questions: the front joined, the chosen one filled, the original a
    square and the reference a star. None where nothing measures the utility."""
    results = {trial.number: trial.result for trial in state.begun if trial.result}
    points = {name: place for name, result in results.items() if (place := _place(result))}
    if not points:
        return None
    first = next(iter(results.values()))
    original, reference = _place(first.original), _place(first.reference)
    edge = sorted(points[trial.number] for trial in state.begun if trial.front)
    with style("sweep"):
        figure = Figure(figsize=(WIDTH, 4.3), layout="constrained")
        axes = figure.add_subplot()
        axes.margins(0.07, 0.14)
        axes.step(
            [x for x, _ in edge], [y for _, y in edge], where="pre", color=COLOURS["muted"], linewidth=1.2
        )
        if original:
            axes.axhline(
                UTILITY_SHARE * original[1], color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3))
            )
            axes.plot(*original, "s", color=COLOURS["before"], markersize=10, zorder=3)
        if reference:
            axes.plot(*reference, "*", color=COLOURS["reference"], markersize=15, zorder=3)
        for name, place in points.items():
            numbered(axes, name, place, filled=name == state.chosen)
        axes.set_xlabel("forget score by all forget questions: further right is better forgotten")
        axes.set_ylabel(f"utility (dashed: {percent(UTILITY_SHARE, 0)} of the original's)")
        legend(
            figure,
            [
                marker("o", "after", "trial (the chosen one is filled)"),
                *([marker("s", "before", "original")] if original else []),
                *([marker("*", "reference", "reference")] if reference else []),
            ],
        )
        return render(
            figure,
            "sweep",
            f"Utility against forgetting of {len(points)} trials"
            + (
                f"; the chosen one, {state.chosen}, has score {number(points[state.chosen][0])} and utility "
                f"{number(points[state.chosen][1])}."
                if state.chosen in points
                else "."
            ),
        )


def _place(point: Point | None) -> tuple[float, float] | None:
    if point is None or point.score is None or point.utility is None:
        return None
    return point.score, point.utility
