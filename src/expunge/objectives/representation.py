"""`rmu`: hidden states of one block driven to a random direction, and held where the retain set is concerned."""

from __future__ import annotations

import torch
from pydantic import NonNegativeInt
from torch import Tensor

from .loss import Outputs, loss

#: Seed of the random direction: the same in every step, process and resumed run.
DIRECTION_SEED = 0


@loss(
    unit="token",
    formula="mean_d (h_t − c·u)², u a fixed random unit vector",
    paper="Li et al. 2024, WMDP: representation misdirection",
    published="zephyr-7b: layer 7, c = 6.5, retain weight 1200, learning rate 5e-5 (weights of 3 layers)",
    needs=("hidden",),
)
def misdirection(outputs: Outputs, *, layer: NonNegativeInt = 7, steering: float = 6.5) -> Tensor:
    """Mean square distance of the hidden states after block `layer` from steering · u, (N,) fp32.

    layer: index of the transformer block, counted from 0; the trainer takes the hidden states there
    """
    hidden = outputs.tokens.hidden
    assert hidden is not None
    generator = torch.Generator().manual_seed(DIRECTION_SEED)
    direction = torch.rand(hidden.shape[-1], generator=generator).to(hidden.device)
    return (hidden.float() - steering * direction / direction.norm()).square().mean(-1)


@loss(
    unit="token",
    formula="mean_d (h_t − h_ref,t)²",
    paper="Li et al. 2024, WMDP: representation misdirection",
    needs=("hidden", "original"),
)
def held_representation(outputs: Outputs, *, layer: NonNegativeInt = 7) -> Tensor:
    """Mean square distance of the hidden states after block `layer` from the original's, (N,) fp32."""
    assert outputs.original is not None
    hidden, original = outputs.tokens.hidden, outputs.original.hidden
    assert hidden is not None
    assert original is not None
    return (hidden.float() - original.float()).square().mean(-1)
