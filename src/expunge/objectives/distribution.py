"""Losses towards a whole distribution over the vocabulary: `undial`, `ceu`, `whp`, and `kl` for what must stay.

The targets are constants: no gradient passes to them.
"""

from __future__ import annotations

import torch
from pydantic import PositiveFloat
from torch import Tensor

from ..models.answers import AnswerTokens
from ..models.token_statistics import cross_entropy
from .loss import Outputs, loss


@loss(
    unit="token",
    formula="CE(p, softmax(y_ref − β·1[v = x_t]))",
    paper="Dong et al. 2025, UNDIAL: self-distillation with adjusted logits",
    published="β = 10; learning rate 1e-4 with LoRA",
    needs=("original",),
)
def adjusted_self_distillation(outputs: Outputs, *, beta: PositiveFloat = 10.0) -> Tensor:
    """Cross entropy, (N,) fp32, to the original's distribution with the true token's logit lowered by β."""
    assert outputs.original is not None
    target = outputs.original.logits.float()
    lowered = torch.full_like(outputs.tokens.targets, -1, dtype=target.dtype)[:, None] * beta
    return _cross_entropy(outputs.tokens, target.scatter_add(1, outputs.tokens.targets[:, None], lowered))


@loss(
    unit="token",
    formula="CE(p, own distribution without x_t)",
    paper="Yang 2025, CE-U: cross-entropy unlearning",
    published="learning rate as for ga; no retain set; an answer's first token is left alone, which is not done here",
)
def cross_entropy_unlearning(outputs: Outputs) -> Tensor:
    """Cross entropy, (N,) fp32, to the model's own distribution with the true token taken out."""
    own = outputs.tokens.logits.detach().float()
    return _cross_entropy(outputs.tokens, own.scatter(1, outputs.tokens.targets[:, None], -torch.inf))


@loss(
    unit="token",
    formula="CE(p, softmax(y_ref − α·relu(y_reinforced − y_ref)))",
    paper="Eldan & Russinovich 2023, who's Harry Potter",
    published="α = 5 (MUSE: searched)",
    needs=("original", "reinforced"),
)
def generic_prediction(outputs: Outputs, *, alpha: PositiveFloat = 5.0) -> Tensor:
    """Cross entropy, (N,) fp32, to what the original would say of a text that it had not read.

    Where a model that was trained further on the forget set raises a logit, that logit of the original is lowered.
    """
    assert outputs.original is not None
    assert outputs.reinforced is not None
    original = outputs.original.logits.float()
    louder = torch.relu(outputs.reinforced.logits.float() - original)
    return _cross_entropy(outputs.tokens, original - alpha * louder)


@loss(
    unit="token",
    formula="KL(p_ref ‖ p)",
    paper="TOFU (Maini et al. 2024)",
    needs=("original",),
)
def divergence_from_the_original(outputs: Outputs) -> Tensor:
    """KL(p_ref ‖ p_θ), (N,) fp32 ≥ 0, summed over the vocabulary."""
    assert outputs.original is not None
    log_q = torch.log_softmax(outputs.original.logits.float(), dim=-1)
    entropy = -(log_q.exp() * log_q).sum(-1)
    return _cross_entropy(outputs.tokens, log_q) - entropy


def _cross_entropy(tokens: AnswerTokens, target_logits: Tensor) -> Tensor:
    """−Σ_v q_v log p_v with q = softmax(target_logits), (N,) fp32."""
    return cross_entropy(tokens.logits, torch.softmax(target_logits.detach(), dim=-1))
