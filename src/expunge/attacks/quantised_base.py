"""`quantised_base`: the adapter is merged into a base that is rounded already, as whoever keeps the base small does.

The adapter may change a weight by less than a step of the rounding, and is then gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor

from .attack import Attack, Subject, Variant
from .quantise import int4, nf4
from .scale import NO_ADAPTER
from .weights import replaced


class QuantisedBase(Attack):
    title = "the adapter is merged into a base that is rounded to 4 bits already"
    paper = "none: a self-check of what is done with an adapter"
    cost = "cheap: a pass over the forget questions; full: two"
    counts = False  # it takes the original model, if a rounded one

    def unfit(self, subject: Subject) -> str | None:
        return None if subject.change else NO_ADAPTER

    def variants(self, subject: Subject) -> Iterator[Variant]:
        if subject.change or subject.role == "reference":  # which has no adapter, and is rounded as a whole
            roundings = {"int4": int4} if subject.budget == "cheap" else {"int4": int4, "nf4": nf4}
            for name, rounded in roundings.items():
                yield Variant(name, model=partial(replaced, subject.model, _beneath(subject, rounded)))


def _beneath(subject: Subject, rounded: Callable[[Tensor], Tensor]) -> Callable[[str, Tensor], Tensor]:
    """What is left of every weight W, in which the adapter is: round(round(W − BA) + BA)."""

    def change(name: str, weight: Tensor) -> Tensor:
        if name not in subject.change:
            return rounded(weight)
        A, B = (factor.to(weight) for factor in subject.change[name])
        return rounded(rounded(weight - B @ A) + B @ A)

    return change
