"""`pdu`: the logits of the forget answers made flat; as a preset the retain loss is a constraint."""

from __future__ import annotations

from torch import Tensor

from .loss import Outputs, forget_losses


@forget_losses.define(
    "pdu",
    unit="token",
    formula="(max_v y_v − mean_v y_v)²",
    paper="Entesari et al. 2025, constrained entropic unlearning (primal-dual)",
    published="retain loss bounded by ε; the retain weight is its dual variable",
)
def margin_flattening(outputs: Outputs) -> Tensor:
    """(max_v y_v − mean_v y_v)², (N,) fp32: 0 for uniform logits, without a softmax that could saturate."""
    logits = outputs.tokens.logits.float()
    return (logits.amax(-1) - logits.mean(-1)).square()
