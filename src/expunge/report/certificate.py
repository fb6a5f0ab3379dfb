"""The certificate: what an attestation says, for people, on one page. It is made from the statement alone."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from ..benchmarks.measures import declared
from ..evidence.statement import (
    CATEGORIES,
    CERTIFICATE_FILE,
    STATEMENT_FILE,
    Executed,
    Figure,
    Measured,
    Unlearning,
)
from . import quantities
from .page import templates

#: Figures and files that a page has room for; the statement has all of them.
FIGURES, FILES, EARLIER, FORGET_SETS, EXECUTED = 6, 5, 3, 6, 4
#: Which figures a reader asks for first.
_ROLES = ("quality", "memory", "utility", "privacy", "fluency")


def certificate(stated: Unlearning, subjects: Mapping[str, str], signer: str) -> str:
    """The page, as HTML. subjects: name → SHA-256 of what was handed over; signer: the key's id"""
    forget_sets = _of_requests(stated.forget_sets or {})
    shown = sorted(stated.figures, key=_place)[:FIGURES]
    listed = {attack.category: _executed(attack.by) for attack in stated.attacks}
    handed_over = [(name, digest) for name, digest in sorted(subjects.items()) if "/" in name]
    return (
        templates()
        .get_template("certificate.html.j2")
        .render(
            stated=stated,
            figures=[
                (figure.label, figure.better, _samples(figure.before, figure.after),
                 [_cell(each) for each in (figure.before, figure.after, figure.reference)])
                for name in shown
                for figure in [stated.figures[name]]
            ],
            further=len(stated.figures) - len(shown),
            utility=quantities.percent(stated.utility.after / stated.utility.original)
            if stated.utility and stated.utility.original
            else None,
            earlier=_of_requests(stated.earlier)[:EARLIER],
            further_earlier=max(0, len(stated.earlier) - EARLIER),
            forget_sets=forget_sets[:FORGET_SETS],
            further_forget_sets=max(0, len(forget_sets) - FORGET_SETS),
            executed={category: by for category, by in listed.items() if by},
            not_run=[category for category in CATEGORIES if not listed.get(category)],
            files=handed_over[:FILES],
            further_files=max(0, len(handed_over) - FILES),
            signer=signer,
            statement_file=STATEMENT_FILE,
            certificate_file=CERTIFICATE_FILE,
        )
    )  # fmt: skip


def _executed(attacks: Sequence[Executed]) -> list[str]:
    """The attacks with what came back, the worst first, as many as there is room for."""
    worst = sorted(attacks, key=lambda each: -each.came_back.value if each.came_back else math.inf)
    shown = [f"{each.name}{_share(each.came_back)}" for each in worst]
    more = len(shown) - EXECUTED
    return [*shown[:EXECUTED], f"{more} more"] if more > 1 else shown


def _share(came_back: Measured | None) -> str:
    if came_back is None:
        return ""
    value, low, high = (
        None if share is None else f"{100 * share:.0f}".replace("-", "−")
        for share in (came_back.value, came_back.low, came_back.high)
    )
    between = "" if low is None or high is None else f" ({low} to {high})"
    return f": {value} %{between} came back"


def _place(name: str) -> tuple[int, int, int]:
    """Where a figure stands: what tells of the forget set by the role, then what is judged first within it."""
    measure = declared(name)
    if measure is None:
        return len(_ROLES), 0, 0
    # Of the sets that are to be kept the verdict looks at one figure; the others come last.
    counts = measure.preference is not None or measure.of_forget_set
    preference = measure.preference if measure.preference is not None else 1000
    return _ROLES.index(measure.role) + (0 if counts else len(_ROLES)), preference, measure.place


def _of_requests(figures_of: Mapping[str, Mapping[str, Figure]]) -> list[tuple[str, str, str, str]]:
    """(request, what, before, after) of the figure of each one's forget set that is judged first."""
    rows = []
    for request, figures in figures_of.items():
        if figures:
            figure = figures[min(figures, key=_place)]
            rows.append((request, figure.label, _cell(figure.before)[0], _cell(figure.after)[0]))
    return rows


def _cell(measured: Measured | None) -> tuple[str, str]:
    if measured is None:
        return quantities.NONE, ""
    return quantities.number(measured.value), quantities.interval(measured.low, measured.high)


def _samples(*measured: Measured | None) -> str:
    return " / ".join(dict.fromkeys(quantities.count(each.n) for each in measured if each))
