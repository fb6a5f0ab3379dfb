"""The glossary explains the measures of a report in plain words: for a reader who has to decide, not to compute."""

from __future__ import annotations

from collections.abc import Iterable

from ..benchmarks.measures import Measure, declared


def glossary(names: Iterable[str]) -> list[Measure]:
    """The declarations of the metrics `names`, in the order of the tables; of several with one term, the first."""
    measures = sorted(filter(None, map(declared, names)), key=lambda measure: measure.place)
    return list({measure.term: measure for measure in reversed(measures)}.values())[::-1]
