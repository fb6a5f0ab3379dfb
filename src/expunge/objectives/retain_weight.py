"""λ, the weight of the retain loss: fixed, or the dual variable of a constraint on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class RetainWeight:
    """λ. With a `bound` it is a dual variable: raised while the retain loss exceeds the bound, lowered below it.

    After each optimiser step λ ← max(0, λ + rate · (retain loss − bound)) (dual ascent on L_retain ≤ bound).
    """

    value: float = 1.0
    bound: float | None = None
    rate: float = 1.0

    def after_step(self, retain_loss: float) -> None:
        """retain_loss: mean retain loss of the whole step, over all processes."""
        if self.bound is not None:
            self.value = max(0.0, self.value + self.rate * (retain_loss - self.bound))
