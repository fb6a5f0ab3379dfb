"""`npo`: the forget answers as dispreferred answers without a preferred one."""

from __future__ import annotations

import torch
from torch import Tensor

from ..models.answers import AnswerTokens
from .loss import Hyperparameters, forget_losses


@forget_losses.define(
    "npo",
    unit="sequence",
    formula="−(2/β) log σ(β[NLL(x) − NLL_ref(x)])",
    paper="Zhang et al. 2024, negative preference optimisation",
    hyperparameters="β = 0.1; VILA: β 0.2 … 0.5",
    reference=True,
)
def negative_preference(
    tokens: AnswerTokens, reference: AnswerTokens | None, settings: Hyperparameters
) -> Tensor:
    """−(2/β) log σ(β[NLL(x) − NLL_ref(x)]), (B,) fp32, NLL summed over a sequence.

    For β → 0 its gradient is that of gradient ascent; it fades as the answer becomes unlikely.
    """
    assert reference is not None
    gain = tokens.sum_by_sequence(reference.log_probability - tokens.log_probability)
    return -2.0 / settings.beta * torch.nn.functional.logsigmoid(settings.beta * gain)
