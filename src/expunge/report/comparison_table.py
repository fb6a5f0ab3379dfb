"""The comparison of runs as text: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Sequence
from pathlib import PurePath

from ..benchmarks.measures import label, preferred
from .comparison import FIGURES, Group, Spread
from .markdown import prose
from .quantities import NONE, count, duration, number, percent, size

#: Headings of `FIGURES`.
HEADINGS = {
    "utility_share": "Utility kept",
    "epochs": "Epoch",
    "trainable_share": "Trained",
    "seconds": "Time",
    "peak_memory_bytes": "Peak memory",
    "worst_attack_share": "Worst attack",
}
#: How they are written.
WRITTEN: dict[str, Callable[[float], str]] = {
    "utility_share": percent,
    "epochs": number,
    "trainable_share": lambda share: percent(share, 2),
    "seconds": duration,
    "peak_memory_bytes": size,
    "worst_attack_share": percent,
}


def measures(groups: Sequence[Group]) -> list[str]:
    """The metrics that stand in the table, as every group has them: quality, memory and utility, the best of each."""
    sides = [group.metrics for group in groups]
    quality = ["forget_quality"] if all("forget_quality" in side for side in sides) else []
    return [*quality, *preferred("memory", *sides)[:1], *preferred("utility", *sides)[:1]]


def headings(groups: Sequence[Group]) -> list[str]:
    """Of the columns: three that say which runs, then figures."""
    return [
        "Method", "Model", "Forget set", "Runs", "Success",
        *(label(name)[0] for name in measures(groups)),
        *(HEADINGS[name] for name in _figures(groups)),
    ]  # fmt: skip


def rows(groups: Sequence[Group]) -> list[list[str]]:
    """A row a group, `mean ± deviation` where there are several runs."""
    names, figures = measures(groups), _figures(groups)
    return [
        [
            told(group),
            PurePath(group.model).name,
            ", ".join(dict.fromkeys(PurePath(source).name for source in group.forget_sets)),
            count(len(group.runs)),
            percent(group.success_rate, 0),
            *(_spread(group.metrics.get(name), number) for name in names),
            *(_spread(group.figures.get(name), WRITTEN[name]) for name in figures),
        ]
        for group in groups
    ]


def told(group: Group) -> str:
    """The method, and what tells the group from others of the same method, model and set."""
    more = [f"{key} {value}" for key, value in group.settings.items()]
    return f"{group.method} ({', '.join(more)})" if more else group.method


def markdown(groups: Sequence[Group]) -> str:
    """A table for a README, its columns aligned for the terminal as well."""
    lines = [headings(groups), *([prose(cell) for cell in row] for row in rows(groups))]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rule = ["-" * width if place < 3 else "-" * (width - 1) + ":" for place, width in enumerate(widths)]

    def line(cells: Sequence[str]) -> str:
        padded = [
            cell.ljust(width) if place < 3 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        return f"| {' | '.join(padded)} |"

    return "\n".join([line(lines[0]), line(rule), *map(line, lines[1:])])


def latex(groups: Sequence[Group]) -> str:
    """A `tabular` with the rules of the package booktabs."""
    heads, body = headings(groups), rows(groups)
    lines = [" & ".join(map(in_latex, row)) + r" \\" for row in [heads, *body]]
    columns = "l" * 3 + "r" * (len(heads) - 3)
    return "\n".join(
        [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule",
         r"\end{tabular}"]
    )  # fmt: skip


def in_latex(text: str) -> str:
    """Text with LaTeX's own signs and those that it has another way for."""
    signs = {sign: rf"\{sign}" for sign in "&%$#_{}"}
    signs |= {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    signs |= {"±": r"$\pm$", "−": "$-$", "–": "--", "×": r"$\times$", "\u202f": r"\,", "≥": r"$\geq$"}
    digits = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    text = "".join(signs.get(letter, letter) for letter in text)
    return re.sub("[⁻⁰¹²³⁴⁵⁶⁷⁸⁹]+", lambda power: f"$^{{{power[0].translate(digits)}}}$", text)


def comma_separated(groups: Sequence[Group]) -> str:
    """Every figure and metric in full precision: mean, standard deviation, and over how many runs."""
    metrics = list(dict.fromkeys(name for group in groups for name in group.metrics))
    names = [*FIGURES, *metrics]
    written = io.StringIO()
    writer = csv.writer(written, lineterminator="\n")
    parts = [f"{name}_{part}" for name in names for part in ("mean", "deviation", "n")]
    writer.writerow(["method", "model", "forget_sets", "settings", "runs", "success_rate", *parts])
    for group in groups:
        spreads = {**group.figures, **group.metrics}
        values: list[float | None] = []
        for name in names:
            spread = spreads.get(name)
            values += [spread.mean, spread.deviation, spread.n] if spread else [None, None, 0]
        settings = "; ".join(f"{key}={value}" for key, value in group.settings.items())
        writer.writerow(
            [group.method, group.model, "; ".join(group.forget_sets), settings, len(group.runs),
             group.success_rate, *values]
        )  # fmt: skip
    return written.getvalue().rstrip("\n")


def _figures(groups: Sequence[Group]) -> list[str]:
    """Of `FIGURES` those that a group has."""
    return [name for name in FIGURES if any(name in group.figures for group in groups)]


def _spread(spread: Spread | None, written: Callable[[float], str]) -> str:
    if spread is None:
        return NONE
    mean = written(spread.mean)
    return mean if spread.deviation is None else f"{mean} ± {written(spread.deviation)}"
