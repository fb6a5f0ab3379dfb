"""`remove`: the adapter is taken off, and what is left is the original model."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from .attack import Attack, Subject, Variant
from .scale import NO_ADAPTER, at_strength


class Remove(Attack):
    title = "the adapter is taken off"
    paper = "none: an adapter lies beside its base"
    cost = "a pass over the forget questions"
    counts = False

    def unfit(self, subject: Subject) -> str | None:
        return None if subject.change else NO_ADAPTER

    def variants(self, subject: Subject) -> Iterator[Variant]:
        if subject.change:
            yield Variant("off", model=partial(at_strength, subject, 0.0))
