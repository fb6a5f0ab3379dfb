"""The one figure that a report begins with: what the model still recalls of the forget set."""

from __future__ import annotations

from dataclasses import dataclass

from ..benchmarks.measures import declared, phrase
from ..evaluation.metric import Metric
from .evidence import Evidence
from .forgetting import memory_measures, unseen
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
    before, after = evidence.before[name], evidence.after[name]
    compared = unseen(evidence)
    never_seen = compared.metrics.get(name)

    def shown(metric: Metric) -> str:
        return number(metric.value) if measure.unit else percent(metric.value)

    called = phrase(name)
    less = "lower" if measure.forgetting == "falls" else "higher"
    beside, aim = "", f"The {less}, the less is recalled"
    if never_seen and compared.held_out:
        beside, aim = f", {shown(never_seen)} {compared.than}", "Forgotten means no more than that"
    elif never_seen:
        beside, aim = f", {shown(never_seen)} for {compared.than}", "Forgotten means as for that model"
    meaning = (
        f"{called[0].upper()}{called[1:]} after unlearning; {shown(before)} before{beside}. {aim}. "
        f"N\u00a0=\u00a0{count(after.n)}."
    )
    return Recalled(after.value, f"{shown(after)} {measure.unit}".strip(), meaning)
