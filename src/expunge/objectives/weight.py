"""The weight of a term of the objective: fixed, or the dual variable of a constraint on the term's loss."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Weight:
    """λ. With `rising` to a value it goes there evenly from the first optimiser step to the last, as far as there is
    something to win back: while `needed` is false it is the first value.

    With a `bound` it is a dual variable: raised while the loss exceeds the bound, lowered below it. After every
    optimiser step λ ← max(0, λ + rate · (loss − bound)) (dual ascent on loss ≤ bound).
    """

    value: float = 1.0
    bound: float | None = None
    rate: float = 1.0
    rising: float | None = None
    needed: bool = True

    def __post_init__(self) -> None:
        self.first = self.value

    def before_step(self, progress: float) -> None:
        """progress: 0 at the first optimiser step, 1 at the last."""
        if self.rising is not None:
            self.value = self.first + (progress if self.needed else 0.0) * (self.rising - self.first)

    def after_step(self, loss: float) -> None:
        """loss: the term's mean loss of the whole step, over all processes."""
        if self.bound is not None:
            self.value = max(0.0, self.value + self.rate * (loss - self.bound))
