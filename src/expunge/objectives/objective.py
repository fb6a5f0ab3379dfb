"""forget loss + λ · retain loss, summed over a micro-batch and normalised over the optimiser step."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..models.answers import AnswerTokens
from .loss import Hyperparameters, Loss, forget_losses, retain_losses

#: Names under which the papers combine a forget loss with a retain loss.
PRESETS: dict[str, tuple[str, str]] = {"gd": ("ga", "nll")}


@dataclass(frozen=True)
class StepTotals:
    """Label tokens and sequences of a whole optimiser step: all micro-batches, all processes."""

    forget_tokens: float
    forget_sequences: float
    retain_tokens: float
    retain_sequences: float


@dataclass(frozen=True)
class Objective:
    """What training minimises. `retain` is None where the forget loss stands alone."""

    forget: Loss
    retain: Loss | None
    retain_weight: float = 1.0
    hyperparameters: Hyperparameters = field(default_factory=Hyperparameters)

    @classmethod
    def named(
        cls, forget: str, retain: str = "none", retain_weight: float = 1.0, beta: float = 0.1
    ) -> Objective:
        """From the names in a recipe. Raises `InputError` for an unknown one."""
        chosen = None if retain == "none" else retain_losses[retain]
        return cls(forget_losses[forget], chosen, retain_weight, Hyperparameters(beta))

    def forget_loss(self, tokens: AnswerTokens, reference: AnswerTokens | None, totals: StepTotals) -> Tensor:
        """This micro-batch's share of the step's mean forget loss, a scalar."""
        return _share(
            self.forget,
            tokens,
            reference,
            self.hyperparameters,
            totals.forget_tokens,
            totals.forget_sequences,
        )

    def retain_loss(self, tokens: AnswerTokens, reference: AnswerTokens | None, totals: StepTotals) -> Tensor:
        """This micro-batch's share of the step's mean retain loss, before λ, a scalar."""
        if self.retain is None:
            return torch.zeros((), device=tokens.logits.device)
        return _share(
            self.retain,
            tokens,
            reference,
            self.hyperparameters,
            totals.retain_tokens,
            totals.retain_sequences,
        )


def _share(
    loss: Loss,
    tokens: AnswerTokens,
    reference: AnswerTokens | None,
    hyperparameters: Hyperparameters,
    step_tokens: float,
    step_sequences: float,
) -> Tensor:
    found = loss.compute(tokens, reference, hyperparameters)
    if loss.unit == "sequence":  # a row without labels is no sequence
        return found[tokens.token_counts > 0].sum() / max(step_sequences, 1.0)
    return found.sum() / max(step_tokens, 1.0)
