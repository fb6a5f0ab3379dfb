"""`pdu`: the logits of the forget answers made flat; as a preset the retain loss is a constraint."""

from __future__ import annotations

from torch import Tensor

from .loss import Outputs, loss


@loss(
    unit="token",
    formula="(max_v y_v − mean_v y_v)²",
    paper="Entesari et al. 2025, constrained entropic unlearning (primal-dual)",
    published="the retain weight, from 50 or 100, is the dual variable of retain loss ≤ ε, ε a little above the "
    "original's retain loss; TOFU: from 100, ε = 0.3, rate 5 (after 5 epochs at 100, which are left out here)",
)
def margin_flattening(outputs: Outputs) -> Tensor:
    """(max_v y_v − mean_v y_v)², (N,) fp32: 0 for uniform logits, without a softmax that could saturate."""
    logits = outputs.tokens.logits.float()
    return (logits.amax(-1) - logits.mean(-1)).square()
