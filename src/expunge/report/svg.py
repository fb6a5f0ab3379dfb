"""A matplotlib figure as inline SVG.

Text stays text, colours follow the page, and the same figure gives the same bytes.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib
from markupsafe import Markup, escape
from matplotlib.figure import Figure

#: Figures are drawn in these colours; in the page they become CSS variables, so that dark mode can have its own.
#: The three series are Okabe and Ito's, which the colour-blind can tell apart.
COLOURS = {
    "ink": "#1c2126",
    "muted": "#68717b",
    "grid": "#dfe3e8",
    "paper": "#fefefe",
    "before": "#d55e00",
    "after": "#0072b2",
    "reference": "#009e73",
}
#: Inches; the page scales it. Narrow, so that the letters are of a readable size on a phone as well.
WIDTH = 4.9
_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana"],
    "font.size": 9.5,
    "axes.edgecolor": COLOURS["muted"],
    "axes.labelcolor": COLOURS["ink"],
    "axes.titlesize": 9.5,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": COLOURS["grid"],
    "grid.linewidth": 0.7,
    "text.color": COLOURS["ink"],
    "xtick.color": COLOURS["muted"],
    "ytick.color": COLOURS["muted"],
    "xtick.labelcolor": COLOURS["ink"],
    "ytick.labelcolor": COLOURS["ink"],
    "legend.frameon": False,
    "lines.linewidth": 1.7,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
}


@contextmanager
def style(name: str) -> Iterator[None]:
    """Draw and render within this; `name` makes the ids of the figure its own."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()  # whatever the user's matplotlibrc says
        matplotlib.rcParams.update({**_STYLE, "svg.hashsalt": name})
        yield


def render(figure: Figure, name: str, description: str) -> Markup:
    """The figure as an `<svg>` element for a page; `description` is what a screen reader says of it."""
    buffer = io.StringIO()
    metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=metadata)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    # Metadata names web addresses, and the style would hold for the whole page (the page has its own).
    text = re.sub(r"<metadata>.*?</metadata>\s*|<style.*?</style>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r' xmlns(:xlink)?="[^"]*"', "", text).replace("xlink:href", "href")
    # Ids are unique within a figure only, and a page holds several.
    text = re.sub(r'\bid="', f'id="{name}-', text)
    text = text.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    for variable, colour in COLOURS.items():
        text = re.sub(colour, f"var(--{variable})", text, flags=re.IGNORECASE)
    box = re.search(r'viewBox="[^"]*"', text)
    assert box is not None  # matplotlib always writes one
    attributes = f'{box[0]} role="img" aria-label="{escape(description)}" class="figure" id="figure-{name}"'
    return Markup(re.sub(r"<svg[^>]*>", lambda _: f"<svg {attributes}>", text, count=1))
