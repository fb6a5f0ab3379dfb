"""The picture of the attacks that are made in steps: how soon what was lost comes back."""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from ..attacks.curves import steps_to_half
from ..folder.state import AttackFacts, AttackVariant
from .attacks import MEASURES
from .figures import DASHES, legend
from .quantities import count
from .svg import COLOURS, WIDTH, render, style

#: What the two models are called whose curves are drawn.
NAMES = {"after": "unlearned", "reference": "reference, attacked alike"}


def attack_curves(facts: AttackFacts | None) -> Markup | None:
    """A panel a finetuning: the measure that counts over the optimiser steps, of the unlearned model and of the
    reference, between what the original knows and nothing. None where no attack was made in steps.

    A mark is where half of what was lost is back.
    """
    drawn = {
        name: variant
        for outcome in (facts.outcomes.values() if facts else ())
        for name, variant in outcome.variants.items()
        if variant.curves
    }
    if not drawn:
        return None
    with style("attack-curves"):
        figure = Figure(figsize=(WIDTH, 1.1 + 1.7 * len(drawn)), layout="constrained")
        panels = figure.subplots(len(drawn), 1, squeeze=False)[:, 0]
        for axes, (name, variant) in zip(panels, drawn.items(), strict=True):
            _panel(axes, name, variant)
        lead = next(iter(drawn.values())).lead
        figure.supylabel(f"mean {MEASURES.get(lead, lead)}", fontsize=9.5, color=COLOURS["ink"])
        figure.supxlabel("optimiser steps of the attack", fontsize=9.5, color=COLOURS["ink"])
        there = [side for side in NAMES if any(side in variant.curves for variant in drawn.values())]
        line: dict[str, Any] = {"color": COLOURS["before"], "linestyle": DASHES["before"]}
        handles = [Line2D([], [], **line, label="original")]
        for side in there:
            line = {"color": COLOURS[side], "linestyle": DASHES[side], "marker": "."}
            handles.append(Line2D([], [], **line, label=NAMES[side]))
        line = {"color": COLOURS["after"], "linestyle": "", "marker": "o"}
        handles.append(Line2D([], [], **line, label="half of what was lost is back"))
        legend(figure, handles)
        told = "; ".join(f"{name}: {_half_back(variant)}" for name, variant in drawn.items())
        return render(figure, "attack-curves", f"What comes back over the steps of finetuning. {told}.")


def _panel(axes: Any, name: str, variant: AttackVariant) -> None:
    found = variant.recoveries[variant.lead]
    axes.axhline(found.original, color=COLOURS["before"], linestyle=DASHES["before"], zorder=1)
    for side, curve in variant.curves.items():
        line: dict[str, Any] = {"color": COLOURS[side], "linestyle": DASHES[side]}
        axes.plot([_place(step) for step in curve], list(curve.values()), marker=".", zorder=3, **line)
        half = steps_to_half(curve, found.original)
        if half is not None:
            axes.plot(_place(half), curve[half], "o", color=COLOURS[side], markersize=8, zorder=4)
    steps = [step for step in next(iter(variant.curves.values())) if step.bit_count() < 2]
    axes.set_xticks([_place(step) for step in steps], [str(step) for step in steps])
    axes.set_ylim(-0.04, 1.05)
    axes.set_title(f"{name} (N = {count(found.n)})\n{_half_back(variant)}", fontsize=8.5)


def _place(step: int) -> float:
    """Where a step stands: 0, 1, 2, 4, 8 … at equal distances."""
    return 1 + math.log2(step) if step else 0.0


def _half_back(variant: AttackVariant) -> str:
    """When half of what was lost is back, in words."""
    original = variant.recoveries[variant.lead].original
    halves = {side: steps_to_half(curve, original) for side, curve in variant.curves.items()}

    def when(side: str) -> str:
        step = halves[side]
        return "never" if step is None else f"after {step} step{'s' * (step != 1)}"

    reference = f"; reference: {when('reference')}" if "reference" in halves else ""
    return f"half back {when('after')}{reference}"
