"""Losses on the preference between answers: `npo`, `simnpo`, `dpo`, `altpo`."""

from __future__ import annotations

from pydantic import PositiveFloat
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..models.answers import AnswerTokens
from .loss import Outputs, loss


@loss(
    unit="sequence",
    formula="−(2/β) log σ(β[NLL(x) − NLL_ref(x)])",
    paper="Zhang et al. 2024, negative preference optimisation",
    published="β = 0.1; VILA: β 0.2 … 0.5",
    needs=("original",),
)
def negative_preference(outputs: Outputs, *, beta: PositiveFloat = 0.1) -> Tensor:
    """−(2/β) log σ(β[NLL(x) − NLL_ref(x)]), (B,) fp32, NLL summed over a sequence.

    The forget answers as dispreferred answers without a preferred one. For β → 0 its gradient is that of gradient
    ascent; it fades as the answer becomes unlikely.
    """
    return -2.0 / beta * logsigmoid(-beta * _gain(outputs.tokens, outputs.original))


@loss(
    unit="sequence",
    formula="−(2/β) log σ(β·NLL(x)/len(x) − γ)",
    paper="Fan et al. 2024, SimNPO: no reference model",
    published="TOFU: β = 2.5 … 4.5, γ = 0",
)
def simple_negative_preference(outputs: Outputs, *, beta: PositiveFloat = 2.5, gamma: float = 0.0) -> Tensor:
    """−(2/β) log σ(β·NLL(x)/len(x) − γ), (B,) fp32; len(x) counts label tokens."""
    tokens = outputs.tokens
    mean = tokens.sum_by_sequence(-tokens.log_probability) / tokens.token_counts.clamp_min(1)
    return -2.0 / beta * logsigmoid(beta * mean - gamma)


@loss(
    unit="sequence",
    formula="−(2/β) log σ(β[gain(refusal) − gain(x)]), gain = log p − log p_ref",
    paper="Rafailov et al. 2023; TOFU",
    published="β = 0.1",
    needs=("original",),
    substitute="refusal",
    aims="answers",
)
def direct_preference(outputs: Outputs, *, beta: PositiveFloat = 0.1) -> Tensor:
    """−(2/β) log σ(β[gain(substitute) − gain(x)]), (B,) fp32, log-probabilities summed over a sequence."""
    assert outputs.substitute is not None
    preferred = _gain(outputs.substitute, outputs.original_substitute)
    return -2.0 / beta * logsigmoid(beta * (preferred - _gain(outputs.tokens, outputs.original)))


alternate_preference = loss(
    unit="sequence",
    formula="−(2/β) log σ(β[gain(alternate) − gain(x)]), gain = log p − log p_ref",
    paper="Mekala et al. 2024, alternate preference optimisation",
    published="searched: β 0.05 … 0.5, learning rate 1e-5 … 5e-5, retain weight 1 … 5 (all weights)",
    needs=("original",),
    substitute="alternate",
    aims="answers",
)(direct_preference.compute)


def _gain(tokens: AnswerTokens, original: AnswerTokens | None) -> Tensor:
    """log π(x) − log π_ref(x) of every sequence, (B,) fp32."""
    assert original is not None
    return tokens.sum_by_sequence(tokens.log_probability - original.log_probability)
