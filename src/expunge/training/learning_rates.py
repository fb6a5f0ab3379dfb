"""One learning rate for every initialisation.

Adam moves every entry of A and B by about the learning rate η, whatever the gradient. The product moves by
s(dB·A + B·dA), and with independent signs E‖dB·A‖² = η²·d_out·‖A‖² and E‖B·dA‖² = η²·d_in·‖B‖² (Frobenius norms).
LoRA's own start has E‖A‖² = r/3 and B = 0; an SVD-based initialisation starts with factors as large as the weight's
leading singular values make them, so at the same η it takes steps of another size. The remedy is a factor per
layer that makes the first step of the product as large as that of LoRA's own start:

    sqrt(d_out·r/3 / (d_out·‖A₀‖² + d_in·‖B₀‖²))

It is 1 for that start, and for any other with B = 0.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from peft import PeftModel
from torch import nn

from ..adapters.anchor import ANCHOR, UNLEARN, adapted_layers


def learning_rate_factors(model: PeftModel) -> dict[nn.Parameter, float]:
    """The multiples of the learning rate for the trained factors A, B, from the starts A₀, B₀ of their layers."""
    factors: dict[nn.Parameter, float] = {}
    for layer in adapted_layers(model).values():
        factor = _factor(layer) if ANCHOR in layer.lora_A else 1.0
        factors[layer.lora_A[UNLEARN].weight] = factors[layer.lora_B[UNLEARN].weight] = factor
    return factors


def typical_factor(model: PeftModel) -> float:
    """The geometric mean of the layers' factors: times this, a rate that suits LoRA's own start suits this one."""
    logs = [math.log(factor) for factor in learning_rate_factors(model).values()]
    return math.exp(sum(logs) / len(logs))


def _factor(layer: Any) -> float:
    A, B = (part[ANCHOR].weight.detach().float() for part in (layer.lora_A, layer.lora_B))
    (rank, d_in), d_out = A.shape, len(B)
    size = d_out * A.square().sum() + d_in * B.square().sum()
    return float((d_out * rank / 3 / size).sqrt()) if size > 0 else 1.0


def scale_learning_rates(optimizer: torch.optim.Optimizer, factors: dict[nn.Parameter, float]) -> None:
    """Split the optimiser's groups, before its first step, so that every parameter has its own multiple of the rate.

    Parameters without a factor keep the group's rate. Schedules multiply every group's rate alike.
    """
    groups = list(optimizer.param_groups)
    optimizer.param_groups.clear()
    for group in groups:
        by_factor: dict[float, list[nn.Parameter]] = {}
        for parameter in group["params"]:
            by_factor.setdefault(factors.get(parameter, 1.0), []).append(parameter)
        for factor, parameters in by_factor.items():
            optimizer.add_param_group({**group, "params": parameters, "lr": group["lr"] * factor})
