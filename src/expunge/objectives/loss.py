"""What a loss is, and the two registries: forget losses and retain losses.

A loss sees the answer tokens of a batch, never the model. It returns one number a token or one a sequence; the
trainer divides their sum by the tokens or sequences of the whole optimiser step, so that batch 32 and 8 × 4
accumulation, on one process or on two, give the same step. A new loss is one file in this folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from ..models.answers import AnswerTokens
from ..registry import Registry


@dataclass(frozen=True)
class Hyperparameters:
    """The numbers that a recipe's `objective` section gives to the losses."""

    beta: float = 0.1


Compute = Callable[[AnswerTokens, AnswerTokens | None, Hyperparameters], Tensor]


@dataclass(frozen=True)
class Loss:
    """A forget loss or a retain loss.

    compute:   (tokens, the reference model's tokens or None, hyper-parameters) → (N,) per token or (B,) per sequence
    unit:      what `compute` returns a number for, and so what the sum is divided by
    reference: whether `compute` needs the original model's tokens (a forward pass with the adapters disabled)
    """

    name: str
    compute: Compute
    unit: Literal["token", "sequence"]
    reference: bool
    formula: str
    paper: str
    hyperparameters: str


class LossRegistry(Registry[Loss]):
    """A registry whose decorator states what a loss is."""

    def define(
        self,
        name: str,
        *,
        unit: Literal["token", "sequence"],
        formula: str,
        paper: str,
        hyperparameters: str = "",
        reference: bool = False,
    ) -> Callable[[Compute], Compute]:
        """Register the decorated function as the loss `name`."""

        def decorate(compute: Compute) -> Compute:
            self.register(name, Loss(name, compute, unit, reference, formula, paper, hyperparameters))
            return compute

        return decorate


forget_losses = LossRegistry("forget loss", key="objective.forget")
retain_losses = LossRegistry("retain loss", key="objective.retain")
