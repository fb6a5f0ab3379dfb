"""`nll`: the retain answers stay likely."""

from __future__ import annotations

from torch import Tensor

from ..models.answers import AnswerTokens
from .loss import Hyperparameters, retain_losses


@retain_losses.define("nll", unit="token", formula="−log p(x_t)", paper="Liu et al. 2022; TOFU; LoKU; VILA")
def negative_log_likelihood(
    tokens: AnswerTokens, reference: AnswerTokens | None, settings: Hyperparameters
) -> Tensor:
    """−log p(x_t | x_<t), (N,) fp32."""
    return -tokens.log_probability
