"""What an entry has done to the forget set of every request so far, as rows. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..benchmarks.measures import preferred
from ..folder.ledger import Entry


@dataclass(frozen=True)
class ForgetSetRow:
    """A figure of a request's forget set, the one by which memory is judged first.

    original: before the request ever ran; then: before the last entry; after: after it
    """

    request: Entry
    name: str
    original: float | None
    then: float | None
    after: float


def forget_set_rows(entries: Sequence[Entry]) -> list[ForgetSetRow]:
    """A row for every request that the last of `entries` has measured."""
    rows = []
    earlier = entries[-2].forget_sets if len(entries) > 1 else {}
    for number, figures in sorted(entries[-1].forget_sets.items()):
        request = entries[number - 1]
        name = next(iter(preferred("memory", figures)), None)
        if name is None or request.facts is None:
            continue
        original = request.facts.figures[name].before if name in request.facts.figures else None
        then = earlier.get(number, {}).get(name)
        rows.append(
            ForgetSetRow(
                request, name, original.value if original else None, then.value if then else None,
                figures[name].value,
            )
        )  # fmt: skip
    return rows
