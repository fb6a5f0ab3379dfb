"""`scale`: the adapter at another strength than it was made for, as whoever holds it beside its base may set it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from torch import Tensor

from .attack import Attack, Subject, Variant
from .weights import replaced

STRENGTHS = (0.3, 0.5, 1.5, 2.0)
NO_ADAPTER = "what was handed over is no adapter"


class Scale(Attack):
    title = "the adapter is set to another strength"
    paper = "task vectors: Ilharco et al. 2023"
    cost = "a pass over the forget questions for each of 4 strengths"
    counts = False

    def unfit(self, subject: Subject) -> str | None:
        return None if subject.change else NO_ADAPTER

    def variants(self, subject: Subject) -> Iterator[Variant]:
        if subject.change:  # the reference has none
            for strength in STRENGTHS:
                yield Variant(f"{strength:g} times", model=partial(at_strength, subject, strength))


def at_strength(subject: Subject, strength: float) -> AbstractContextManager[Any]:
    """The model with `strength` times the adapter: W + (strength − 1)·BA, where W has it once."""

    def change(name: str, weight: Tensor) -> Tensor:
        if name not in subject.change:
            return weight
        A, B = (factor.to(weight) for factor in subject.change[name])
        return weight + (strength - 1) * (B @ A)

    return replaced(subject.model, change)
