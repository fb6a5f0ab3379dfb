"""The picture of the attacks: how much of what was lost each brought back, beside a model that never knew it."""

from __future__ import annotations

from dataclasses import dataclass
from textwrap import fill
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import PercentFormatter

from ..folder.state import AttackFacts
from .attacks import MEASURES, TOO_MUCH, Worst, by_keywords, worst_first
from .figures import legend
from .quantities import NONE, count, number, percent
from .svg import COLOURS, WIDTH, render, style
from .tables import Cell


@dataclass(frozen=True)
class VariantRow:
    """A line of the table: what one way of asking brought to light, by the measure that counts. note: the measure, how
    many leaks were told by keywords, and why there is no share"""

    attack: str
    variant: str
    note: str
    n: str
    cells: list[Cell]


def attack_bars(facts: AttackFacts | None) -> Markup | None:
    """A bar an attack: the share of the lost knowledge that came back in its worst variant, with the 95 % interval.

    The attack on the reference brings back nothing, by definition: its mark stands at 0. None without a share to show.
    """
    if facts is None:
        return None
    counting, others = (worst_first(facts, which) for which in (True, False))
    shown = [*counting, *others]
    if not shown:
        return None
    with style("attacks"):
        figure = Figure(figsize=(WIDTH, 1.4 + 0.6 * len(shown)), layout="constrained")
        axes = figure.add_subplot()
        for place, worst in enumerate(shown):
            _bar(axes, place, worst)
        axes.plot(
            [0] * len(shown), range(len(shown)), "D", color=COLOURS["reference"], markersize=8, zorder=4
        )
        axes.axvline(TOO_MUCH, color=COLOURS["muted"], linewidth=1, linestyle=(0, (4, 3)), zorder=1)
        axes.set_yticks([])
        axes.set_ylim(len(shown) - 0.6, -0.8)
        lowest = min(0.0, *(worst.recovery.low or 0.0 for worst in shown))
        axes.set_xlim(min(-0.04, max(lowest, -1.0) - 0.02), 1.19)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.spines["left"].set_visible(False)
        axes.set_xlabel(
            "share of the lost knowledge that came back\n(100 %: the model from before unlearning)"
        )
        stood_in = facts.ground == "holdout"
        unseen = "text that it never saw" if stood_in else "never saw the data"
        handles: list[Any] = [
            Line2D([], [], marker="D", linestyle="", color=COLOURS["reference"], label=unseen)
        ]
        if counting:
            handles.append(Patch(facecolor=COLOURS["after"], label="unlearned"))
        if others:
            handles.append(Patch(facecolor=COLOURS["grid"], label="needs the model from before, or teaches"))
        handles.append(
            Line2D([], [], color=COLOURS["muted"], linestyle=(0, (4, 3)), label=f"too much: {TOO_MUCH:.0%}")
        )
        legend(figure, handles)
        told = "; ".join(f"{worst.name} {percent(worst.shown)}" for worst in shown)
        return render(
            figure, "attacks", f"Share of the lost knowledge that each attack brought back: {told}."
        )


def _bar(axes: Any, place: int, worst: Worst) -> None:
    counts, found = worst.outcome.counts, worst.recovery
    colour = COLOURS["grid"] if not counts else COLOURS["before" if worst.too_much else "after"]
    axes.barh(place, worst.shown, height=0.34, color=colour, zorder=2)
    assert found.low is not None
    assert found.high is not None
    axes.plot([found.low, found.high], [place, place], color=COLOURS["ink"], linewidth=1.2, zorder=3)
    # Above its bar, where the whole width is free; on a ground of its own, as lines run through.
    ground: dict[str, Any] = {"facecolor": COLOURS["paper"], "edgecolor": "none", "pad": 1}
    axes.annotate(
        fill(f"{worst.name}: {worst.outcome.title}", 60), (0.005, place - 0.22), xycoords=axes.get_yaxis_transform(),
        va="bottom", fontsize=8.5, bbox=ground, zorder=2.5,
    )  # fmt: skip
    bound = "≤ " if found.upper_bound else ""
    axes.annotate(
        f"{bound}{percent(worst.shown, 0)}", (max(found.high, worst.shown, 0), place), xytext=(7, 0),
        textcoords="offset points", va="center_baseline", fontsize=9,
    )  # fmt: skip


def variant_rows(facts: AttackFacts | None) -> list[VariantRow]:
    """Every variant of every attack with its raw values: original, unlearned, attacked, reference, attacked, share."""
    rows = []
    for name, outcome in (facts.outcomes if facts else {}).items():
        for variant_name, variant in outcome.variants.items():
            found = variant.recoveries[variant.lead]
            means = (found.original, found.after, found.attacked, found.reference, found.attacked_reference)
            notes = (MEASURES.get(variant.lead, variant.lead), by_keywords(variant), found.unresolved)
            bound = "≤ " if found.upper_bound else ""
            share = (
                Cell(None, NONE)
                if found.share is None or found.low is None or found.high is None
                else Cell(
                    found.share,
                    f"{bound}{percent(found.share)}",
                    f"{percent(found.low)} to {percent(found.high)}",
                )
            )
            rows.append(
                VariantRow(
                    name,
                    variant_name,
                    "; ".join(filter(None, notes)),
                    count(found.n),
                    [*(Cell(mean, number(mean)) for mean in means), share],
                )
            )
    return rows
