"""The one figure that a report begins with: what the model still recalls of the forget set."""

from __future__ import annotations

from dataclasses import dataclass

from ..benchmarks.measures import declared, phrase
from ..evaluation.metric import Metric
from .evidence import Evidence
from .forgetting import memory_measures
from .quantities import count, number, percent


@dataclass(frozen=True)
class Recalled:
    value: float
    shown: str
    meaning: str


def recalled(evidence: Evidence) -> Recalled | None:
    """The first measure of memory that was taken before and after; None where there is none, or no model is left."""
    if evidence.ended:
        return None
    name = next(iter(memory_measures(evidence, evidence.before, evidence.after)), None)
    measure = declared(name) if name else None
    if name is None or measure is None:
        return None
    before, after, reference = (
        side.get(name) for side in (evidence.before, evidence.after, evidence.reference)
    )
    assert before is not None
    assert after is not None

    def shown(metric: Metric) -> str:
        return number(metric.value) if measure.unit else percent(metric.value)

    called = phrase(name)
    unseen = f", {shown(reference)} for a model that never saw it" if reference else ""
    less = "lower" if measure.forgetting == "falls" else "higher"
    aim = "Forgotten means as for that model" if reference else f"The {less}, the less is recalled"
    meaning = (
        f"{called[0].upper()}{called[1:]} after unlearning; {shown(before)} before{unseen}. {aim}. "
        f"N\u00a0=\u00a0{count(after.n)}."
    )
    return Recalled(after.value, f"{shown(after)} {measure.unit}".strip(), meaning)
