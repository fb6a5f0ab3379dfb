"""The picture of the importances: layers × kinds of module, and in every field the mean of d."""

from __future__ import annotations

import re
from collections.abc import Mapping

import matplotlib
import numpy as np
from markupsafe import Markup
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure

from .quantities import number
from .svg import COLOURS, WIDTH, render, style

_LAYER = re.compile(r"\.(\d+)(?:\.|$)")
#: Above this ratio of the largest to the smallest mean, colours follow the logarithm.
_LOG_FROM = 30


def importance_by_layer(importance: Mapping[str, np.ndarray]) -> tuple[list[int], list[str], np.ndarray]:
    """(layers, kinds, means); means is the mean d by layer and kind, (layers, kinds), NaN where a layer has none.

    The layer is the first number in a module's name, the kind is what follows it; experts of one layer count
    as one kind. Modules outside the layers (an output embedding) are left out.
    """
    values: dict[tuple[int, str], list[float]] = {}
    kinds: list[str] = []
    for name, d in importance.items():
        match = _LAYER.search(f".{name}")
        if not match:
            continue
        kind = re.sub(r"\.\d+\.", ".", f".{name}"[match.end() :]) or "itself"
        if kind not in kinds:
            kinds.append(kind)
        values.setdefault((int(match[1]), kind), []).append(float(np.mean(d)))
    layers = sorted({layer for layer, _ in values})
    kinds.sort(key=_order)
    means = np.full((len(layers), len(kinds)), np.nan)
    for (layer, kind), entries in values.items():
        means[layers.index(layer), kinds.index(kind)] = np.mean(entries)
    return layers, kinds, means


def _order(kind: str) -> tuple[bool, int, str]:
    """Attention before the feed-forward part, and within both the way data flows through it."""
    flow = (
        "q_proj",
        "k_proj",
        "v_proj",
        "qkv",
        "c_attn",
        "o_proj",
        "out_proj",
        "gate_proj",
        "up_proj",
        "c_fc",
        "fc",
    )
    last = next((index for index, part in enumerate(flow) if part in kind), len(flow))
    return "attn" not in kind and "attention" not in kind, last, kind


def importance_map(importance: Mapping[str, np.ndarray]) -> Markup | None:
    """None where nothing was measured, or no module lies in a numbered layer."""
    layers, kinds, means = importance_by_layer(importance)
    finite = means[np.isfinite(means)]
    if not len(finite):
        return None
    spread = finite.min() > 0 and finite.max() / finite.min() > _LOG_FROM
    norm = (LogNorm if spread else Normalize)(float(finite.min()), float(finite.max()))
    # Few colours: they can be told apart on paper, and the colour bar stays drawn, not a picture.
    colours = matplotlib.colormaps["cividis"].resampled(16)
    short = [kind.rsplit(".", 1)[-1] for kind in kinds]
    names = short if len(set(short)) == len(short) else kinds
    with style("importance"):
        figure = Figure(figsize=(WIDTH, min(9.0, 1.2 + 0.3 * len(layers))), layout="constrained")
        axes = figure.add_subplot()
        mesh = axes.pcolormesh(np.ma.masked_invalid(means), norm=norm, cmap=colours, edgecolors="none")
        axes.set_xticks(np.arange(len(kinds)) + 0.5, names, rotation=30, ha="right")
        every = max(1, len(layers) // 24)
        axes.set_yticks(np.arange(len(layers))[::every] + 0.5, [str(layer) for layer in layers[::every]])
        axes.tick_params(length=0)
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.invert_yaxis()
        axes.set_ylabel("layer")
        if len(layers) <= 16 and len(kinds) <= 8:
            for (row, column), value in np.ndenumerate(means):
                if np.isfinite(value):
                    dark = norm(value) < 0.55
                    colour = "#ffffff" if dark else "#000000"
                    place = (column + 0.5, row + 0.5)
                    axes.annotate(number(value, 2), place, ha="center", va="center", fontsize=8, color=colour)
        bar = figure.colorbar(mesh, ax=axes, pad=0.02, aspect=25, fraction=0.05)
        bar.set_label("mean importance d", color=COLOURS["ink"])
        bar.outline.set_visible(False)
        row, column = np.unravel_index(int(np.nanargmax(means)), means.shape)
        description = (
            f"Mean importance by layer and module, {len(layers)} layers by {len(kinds)} kinds of module; "
            f"from {number(float(finite.min()))} to {number(float(finite.max()))}, largest in layer "
            f"{layers[row]}, {names[column]}."
        )
        return render(figure, "importance", description)
