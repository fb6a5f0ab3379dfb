"""One page for several runs: their table, and what each kept against what it forgot."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from markupsafe import Markup
from matplotlib.figure import Figure

from .._version import __version__
from ..benchmarks.measures import declared, phrase, preferred
from ..errors import InputError, Problem
from ..evaluation.metric import Metric
from ..intact import check_writable
from ..storage import write_text
from .comparison import Group, RunFacts, compare
from .comparison_table import headings, rows, told
from .figures import legend, marker, numbered
from .page import templates
from .svg import COLOURS, WIDTH, render, style


def write_comparison(paths: Sequence[Path], output: Path, across_sets: bool = False) -> Path:
    """Write the page to `output`, and return it. The same runs give the same bytes.

    Raises `InputError` as `compare` does, and where `output` cannot be written.
    """
    check_writable(output, "--output")
    if output.is_dir():
        raise InputError(Problem(f"--output: {output}", "it is a folder.", "Name a file for the page."))
    groups = compare(paths, across_sets)
    runs = [(number, run) for number, group in enumerate(groups, start=1) for run in group.runs]
    text = (
        templates()
        .get_template("comparison.html.j2")
        .render(
            version=__version__,
            runs=len(runs),
            headings=headings(groups),
            rows=rows(groups),
            figures=pictures(groups),
            each=[
                (number, str(run.folder.path), _link(run, output), run.folder.state.seed, run.headline)
                for number, run in runs
            ],
        )
    )
    write_text(output, text)
    return output


def pictures(groups: Sequence[Group]) -> list[tuple[str, Markup]]:
    """(what it is of, picture) for every model and forget set whose runs share a measure of memory and of utility."""
    places: dict[tuple[str, ...], dict[int, Group]] = {}
    for number, group in enumerate(groups, start=1):
        states = [run.folder.state for run in group.runs]
        same = (states[0].model.fingerprint, *sorted({state.data.forget.hash for state in states}))
        places.setdefault(same, {})[number] = group
    lines = rows(groups)
    drawn = []
    for place, members in enumerate(places.values()):
        _, model, forget_sets, *_ = lines[min(members) - 1]
        drawn.append((f"{model}, {forget_sets}", _picture(f"comparison-{place}", members)))
    return [(what, svg) for what, svg in drawn if svg]


def _picture(name: str, groups: dict[int, Group]) -> Markup | None:
    """Every run a dot, every group its number at the mean; the original a square and the reference a star."""
    runs = {number: [run for run in group.runs if run.metrics("after")] for number, group in groups.items()}
    runs = {number: members for number, members in runs.items() if members}
    every = [run for members in runs.values() for run in members]
    sides = [run.metrics(stage) for run in every for stage in ("before", "after")]
    memory, utility = (preferred(role, *sides)[:1] if sides else [] for role in ("memory", "utility"))
    if not memory or not utility:
        return None
    first = every[0]

    def place(stage: str, run: RunFacts) -> tuple[float, float] | None:
        found: list[Metric | None] = [run.metrics(stage).get(key) for key in (*memory, *utility)]
        x, y = found
        return (x.value, y.value) if x and y else None

    with style(name):
        figure = Figure(figsize=(WIDTH, 4.1), layout="constrained")
        axes = figure.add_subplot()
        axes.margins(0.1, 0.14)
        if original := place("before", first):
            axes.plot(*original, "s", color=COLOURS["before"], markersize=9, zorder=3)
        if reference := place("reference", first):
            axes.plot(*reference, "*", color=COLOURS["reference"], markersize=14, zorder=3)
        for number, members in runs.items():
            points = [point for run in members if (point := place("after", run))]
            for point in points:
                axes.plot(*point, ".", color=COLOURS["muted"], markersize=7, zorder=2)
            x, y = (sum(values) / len(values) for values in zip(*points, strict=True))
            numbered(axes, number, (x, y), filled=False)
        measure = declared(memory[0])
        falls = measure is None or measure.forgetting != "rises"
        if falls:
            axes.invert_xaxis()
        axes.set_xlabel(f"{phrase(memory[0])}:\nfurther right is less recalled")
        axes.set_ylabel(phrase(utility[0]).replace(" without generated answers", "\n"))
        legend(
            figure,
            [
                marker("s", "before", "original"),
                marker("o", "after", "mean of a row"),
                *([marker("*", "reference", "reference")] if reference else []),
            ],
        )
        told_of = "; ".join(f"{number}: {told(groups[number])}" for number in runs)
        return render(figure, name, f"Utility against forgetting of {len(every)} runs. {told_of}.")


def _link(run: RunFacts, output: Path) -> str | None:
    """From the page to a run's own report; None where it has none."""
    report = run.folder.report_file
    return quote(os.path.relpath(report, output.parent)) if report.exists() else None
