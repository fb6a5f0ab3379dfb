"""Whether an adapter changes anything at all."""

from __future__ import annotations

from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from ..models.float64 import float64
from ..models.linear import weight_matrix
from .anchor import ANCHOR, UNLEARN, adapted_layers

#: A change of less than this share of the weights is lost in the rounding of fp32, in which it is computed.
ROUNDING = torch.finfo(torch.float32).eps


def is_unchanged(model: PeftModel) -> bool:
    """Whether in every layer ‖ΔW‖_F ≤ 1.2e-7 · ‖W‖_F, where ΔW = s·BA − s·B₀A₀ is what an export would hand over.

    Of a sharded base all processes must ask.
    """
    return all(_is_rounding(layer) for layer in adapted_layers(model).values())


def _is_rounding(layer: Any) -> bool:
    A, B = (float64(part[UNLEARN].weight.detach()) for part in (layer.lora_A, layer.lora_B))
    if ANCHOR in layer.lora_A:
        A0, B0 = (float64(part[ANCHOR].weight.detach()) for part in (layer.lora_A, layer.lora_B))
        # BA − B₀A₀ = (B − B₀)A + B₀(A − A₀), which does not cancel.
        A, B = torch.cat([A, A - A0]), torch.cat([B - B0, B0], dim=1)
    change = abs(layer.scaling[UNLEARN]) * _norm_of_product(A, B)
    return bool(change <= ROUNDING * weight_matrix(layer.get_base_layer()).norm())


def _norm_of_product(A: Tensor, B: Tensor) -> float:
    """‖BA‖_F of A (r, d_in) and B (d_out, r), fp64, from r × r matrices: √ tr(BᵀB · AAᵀ)."""
    return float(((B.T @ B) * (A @ A.T)).sum().clamp_min(0).sqrt())
