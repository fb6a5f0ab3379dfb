"""Gradient ascent on the forget set, plain and weighted by token: `ga`, `wga`, `satimp`."""

from __future__ import annotations

from pydantic import NonNegativeFloat
from torch import Tensor

from .loss import Outputs, loss


@loss(
    unit="token",
    formula="log p(x_t)",
    paper="Jang et al. 2023",
    published="VILA: learning rate 4e-5 … 2e-4, retain weight 0.7 … 1.9",
)
def gradient_ascent(outputs: Outputs) -> Tensor:
    """log p(x_t | x_<t), (N,) fp32: minimising it raises the negative log-likelihood. Unbounded: it diverges unless
    it is stopped."""
    return outputs.tokens.log_probability


@loss(
    unit="token",
    formula="p(x_t)^β · log p(x_t), the weight held constant",
    paper="Wang et al. 2025, rethinking LLM unlearning objectives (WGA)",
    published="β = 1",
)
def weighted_gradient_ascent(outputs: Outputs, *, beta: NonNegativeFloat = 1.0) -> Tensor:
    """Ascent, (N,) fp32, that lets go of a token as soon as it is unlikely."""
    log_probability = outputs.tokens.log_probability
    return (beta * log_probability.detach()).exp() * log_probability


@loss(
    unit="token",
    formula="p(x_t)^β (1 − p(x_t))^β₂ · log p(x_t), the weight held constant",
    paper="Yang et al. 2025, saturation and importance (SatImp)",
    published="β = 5, β₂ = 1",
)
def saturation_importance(
    outputs: Outputs, *, beta: NonNegativeFloat = 5.0, beta2: NonNegativeFloat = 1.0
) -> Tensor:
    """Ascent, (N,) fp32, weighted by saturation p^β and importance (1 − p)^β₂."""
    log_probability = outputs.tokens.log_probability
    p = log_probability.detach().exp()
    return p**beta * (1 - p).clamp_min(0.0) ** beta2 * log_probability
