"""The factors that make one learning rate suit every initialisation."""

from __future__ import annotations

import math

import pytest
import torch

from expunge import attach_adapter
from expunge.adapters.anchor import ANCHOR, UNLEARN, adapted_layers
from expunge.adapters.attach import uniform_importance
from expunge.training.learning_rates import learning_rate_factors, scale_learning_rates, typical_factor
from tiny_models import random_model


def adapted(initialization: str):
    base = random_model()
    rows = uniform_importance(base) if initialization == "pissa" else None
    return attach_adapter(base, rows, rank=3, alpha=6)


def test_the_default_start_keeps_its_rate() -> None:
    factors = learning_rate_factors(adapted("default"))
    assert set(factors.values()) == {1.0}
    assert len(factors) == 2 * 14


def test_factors_by_hand() -> None:
    model = adapted("pissa")
    factors = learning_rate_factors(model)
    for layer in adapted_layers(model).values():
        A, B = layer.lora_A[ANCHOR].weight, layer.lora_B[ANCHOR].weight
        d_out, d_in = len(B), A.shape[1]
        wanted = math.sqrt(d_out * 3 / 3 / float(d_out * A.norm() ** 2 + d_in * B.norm() ** 2))
        assert factors[layer.lora_A[UNLEARN].weight] == pytest.approx(wanted, rel=1e-5)
        assert factors[layer.lora_B[UNLEARN].weight] == pytest.approx(wanted, rel=1e-5)


def test_the_typical_factor_is_their_geometric_mean() -> None:
    model = adapted("pissa")
    factors = list(learning_rate_factors(model).values())
    assert typical_factor(model) == pytest.approx(math.prod(factors) ** (1 / len(factors)))
    assert typical_factor(adapted("default")) == 1.0


def test_the_first_update_is_as_large_as_the_defaults() -> None:
    """Adam's first step moves every entry by its rate, up to sign: drawn here at random, many times."""
    generator = torch.Generator().manual_seed(0)
    sizes = {}
    for initialization in ("default", "pissa"):
        model = adapted(initialization)
        factors = learning_rate_factors(model)
        layer = adapted_layers(model)["model.layers.0.mlp.up_proj"]
        A, B = layer.lora_A[UNLEARN].weight.detach(), layer.lora_B[UNLEARN].weight.detach()
        rate = 1e-4 * factors[layer.lora_A[UNLEARN].weight]
        squares = []
        for _ in range(300):
            dA, dB = (rate * torch.randn(part.shape, generator=generator).sign() for part in (A, B))
            squares.append(float(((B + dB) @ (A + dA) - B @ A).square().sum()))
        sizes[initialization] = math.sqrt(sum(squares) / len(squares))
    assert sizes["pissa"] == pytest.approx(sizes["default"], rel=0.15)  # E‖A‖² = r/3 holds in the mean


def test_groups_keep_their_options_and_every_parameter_its_rate() -> None:
    a, b, c = (torch.nn.Parameter(torch.zeros(1)) for _ in range(3))
    optimizer = torch.optim.AdamW(
        [{"params": [a, b], "weight_decay": 0.1}, {"params": [c], "weight_decay": 0.0}], lr=0.5
    )
    scale_learning_rates(optimizer, {a: 0.2, c: 0.4})
    found = {
        id(parameter): (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    assert found == {id(a): (0.1, 0.1), id(b): (0.5, 0.1), id(c): (0.2, 0.0)}
