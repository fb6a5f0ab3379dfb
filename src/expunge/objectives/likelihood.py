"""Answers made likely: `nll` for those to keep, `idk` for refusals in the place of those to forget."""

from __future__ import annotations

from torch import Tensor

from .loss import Outputs, loss


@loss(unit="token", formula="−log p(x_t)", paper="Liu et al. 2022; TOFU; LoKU; VILA")
def negative_log_likelihood(outputs: Outputs) -> Tensor:
    """−log p(x_t | x_<t), (N,) fp32."""
    return -outputs.tokens.log_probability


refusal_likelihood = loss(
    unit="token",
    formula="−log p(refusal_t)",
    paper="TOFU (Maini et al. 2024)",
    published="TOFU: learning rate 1e-5 (all weights)",
    substitute="refusal",
    instead=True,
    aims="answers",
)(negative_log_likelihood.compute)
