"""`ihl`: the inverted hinge loss of LoKU. Bounded, and it raises the runner-up instead of everything."""

from __future__ import annotations

from torch import Tensor

from .loss import Outputs, loss


@loss(
    unit="token",
    formula="1 + p(x_t) − max_{v≠x_t} p(v)",
    paper="LoKU (Cha et al., ICLR 2025), equation 3",
    published="LoKU: learning rate 1e-4 … 2e-4; VILA: 9e-5 … 2e-4, retain weight 0.8 … 1.4",
)
def inverted_hinge(outputs: Outputs) -> Tensor:
    """1 + p(x_t | x_<t) − max_{v≠x_t} p(v | x_<t), (N,) fp32, in [0, 2].

    With p = p(x_t), q = p(v*), v* the runner-up, its gradient with respect to the logits is p(q − p + 1) at x_t,
    q(q − p − 1) at v*, and p(v)(q − p) elsewhere.
    """
    tokens = outputs.tokens
    return 1.0 + tokens.log_probability.exp() - tokens.best_other_log_probability.exp()
