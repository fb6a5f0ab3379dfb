"""Whether an adapter changes anything: against the dense ΔW of every layer."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from expunge.adapters import change
from expunge.adapters.anchor import ANCHOR, UNLEARN, adapted_layers
from expunge.adapters.attach import attach_adapter, uniform_importance
from tiny_models import random_model


def adapted(initialization: str) -> Any:
    model = random_model()
    rows = uniform_importance(model, "all-linear", 1.0) if initialization == "pissa" else None
    return attach_adapter(model, rows, rank=4, alpha=8)


def dense(layer: Any) -> torch.Tensor:
    A, B = (part[UNLEARN].weight.double() for part in (layer.lora_A, layer.lora_B))
    product = B @ A
    if ANCHOR in layer.lora_A:
        product = product - layer.lora_B[ANCHOR].weight.double() @ layer.lora_A[ANCHOR].weight.double()
    return layer.scaling[UNLEARN] * product


@pytest.mark.parametrize("initialization", ["default", "pissa"])
def test_step_0_is_unchanged_and_so_is_a_step_that_is_lost_in_rounding(initialization: str) -> None:
    model = adapted(initialization)
    assert change.is_unchanged(model)
    layers = adapted_layers(model)
    last = list(layers)[-1]
    with torch.no_grad():
        start = {name: layer.lora_B[UNLEARN].weight.clone() for name, layer in layers.items()}
        for size, unchanged in ((1e-10, True), (1e-4, False)):
            # In one layer alone, the last that is looked at.
            layers[last].lora_B[UNLEARN].weight.copy_(start[last] + size)
            weight = layers[last].get_base_layer().weight
            share = float(dense(layers[last]).norm() / weight.double().norm())
            assert (share <= torch.finfo(torch.float32).eps) is unchanged
            assert change.is_unchanged(model) is unchanged


def test_weights_that_are_no_numbers_are_no_nothing() -> None:
    model = adapted("default")
    with torch.no_grad():
        next(iter(adapted_layers(model).values())).lora_B[UNLEARN].weight.fill_(float("nan"))
    assert not change.is_unchanged(model)


def test_the_norm_of_a_product() -> None:
    A, B = torch.randn(3, 40, dtype=torch.float64), torch.randn(50, 3, dtype=torch.float64)
    assert change._norm_of_product(A, B) == pytest.approx(float((B @ A).norm()), rel=1e-12)
