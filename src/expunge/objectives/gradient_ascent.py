"""`ga`: gradient ascent on the forget set. Unbounded: it diverges unless it is stopped."""

from __future__ import annotations

from torch import Tensor

from ..models.answers import AnswerTokens
from .loss import Hyperparameters, forget_losses


@forget_losses.define(
    "ga",
    unit="token",
    formula="log p(x_t)",
    paper="Jang et al. 2023; with retain nll it is GD (Liu et al. 2022; TOFU)",
    hyperparameters="VILA: learning rate 4e-5 … 2e-4, retain weight 0.7 … 1.9",
)
def gradient_ascent(
    tokens: AnswerTokens, reference: AnswerTokens | None, settings: Hyperparameters
) -> Tensor:
    """log p(x_t | x_<t), (N,) fp32: minimising it raises the negative log-likelihood."""
    return tokens.log_probability
