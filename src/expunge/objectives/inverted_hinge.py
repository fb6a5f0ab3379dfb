"""`ihl`: the inverted hinge loss of LoKU. Bounded, and it raises the runner-up instead of everything."""

from __future__ import annotations

from torch import Tensor

from ..models.answers import AnswerTokens
from .loss import Hyperparameters, forget_losses


@forget_losses.define(
    "ihl",
    unit="token",
    formula="1 + p(x_t) − max_{v≠x_t} p(v)",
    paper="LoKU (Cha et al., ICLR 2025), equation 3",
    hyperparameters="LoKU: learning rate 1e-4 … 2e-4; VILA: 9e-5 … 2e-4, retain weight 0.8 … 1.4",
)
def inverted_hinge(tokens: AnswerTokens, reference: AnswerTokens | None, settings: Hyperparameters) -> Tensor:
    """1 + p(x_t | x_<t) − max_{v≠x_t} p(v | x_<t), (N,) fp32, in [0, 2].

    With p = p(x_t), q = p(v*), v* the runner-up, its gradient with respect to the logits is p(q − p + 1) at x_t,
    q(q − p − 1) at v*, and p(v)(q − p) elsewhere.
    """
    return 1.0 + tokens.log_probability.exp() - tokens.best_other_log_probability.exp()
