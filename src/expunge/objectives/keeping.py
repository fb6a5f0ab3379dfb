"""`keep`: what should stay is to stay as the original has it, and its answers are to be no less likely."""

from __future__ import annotations

import torch
from torch import Tensor

from .distribution import divergence_from_the_original
from .loss import Outputs, loss


@loss(
    unit="token",
    formula="KL(p_ref ‖ p) + max(0, log p_ref(x_t) − log p(x_t))",
    paper="none: made for this project",
    needs=("original",),
)
def kept_as_it_was(outputs: Outputs) -> Tensor:
    """Nats, (N,) fp32 ≥ 0; 0 where the model says what the original says.

    `nll` goes on teaching the retain set beyond what the original knew, and its form with it; the divergence alone
    hardly resists where a true token loses little of its probability, the hinge does.
    """
    assert outputs.original is not None
    lost = torch.relu(outputs.original.log_probability - outputs.tokens.log_probability)
    return divergence_from_the_original.compute(outputs) + lost
