"""Rounded weights, against a literal rounding."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

import pytest
import torch
from torch import Tensor

from expunge.attacks.quantise import NF4, bitsandbytes_nf4, int4, int8, nf4, roundings
from expunge.attacks.weights import replaced
from expunge.models.linear import linear_layers
from tiny_models import SHAPES


def _literal_int8(group: list[float]) -> list[float]:
    step = max(map(abs, group)) / 127
    return [round(value / step) * step for value in group]


def _literal_int4(group: list[float]) -> list[float]:
    low, high = min(0.0, *group), max(0.0, *group)
    step = (high - low) / 15
    zero = round(-low / step)
    return [(min(15, max(0, round(value / step) + zero)) - zero) * step for value in group]


@pytest.mark.parametrize(("rounded", "literal"), [(int8, _literal_int8), (int4, _literal_int4)])
@pytest.mark.parametrize("width", [128, 300, 24])
def test_rounding_in_groups_of_128(rounded: Any, literal: Any, width: int) -> None:
    weight = torch.randn(5, width, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    wanted = [
        [value for start in range(0, width, 128) for value in literal(row[start : start + 128])]
        for row in weight.tolist()
    ]
    assert torch.allclose(rounded(weight), torch.tensor(wanted), atol=1e-6)


def test_nf4_takes_the_nearest_level() -> None:
    weight = torch.randn(4, 48, generator=torch.Generator().manual_seed(0))
    flat = weight.flatten().tolist()
    wanted = []
    for start in range(0, len(flat), 64):
        block = flat[start : start + 64]
        scale = max(map(abs, block))
        wanted += [min(NF4, key=lambda level: abs(level - value / scale)) * scale for value in block]
    assert torch.allclose(nf4(weight).flatten(), torch.tensor(wanted), atol=1e-6)


def test_nf4_of_bitsandbytes_is_another_variant_where_it_is_installed() -> None:
    if find_spec("bitsandbytes") is None:
        assert list(roundings()) == ["int8", "int4", "nf4"]
        pytest.skip("bitsandbytes is not installed")
    assert list(roundings()) == ["int8", "int4", "nf4", "bitsandbytes nf4"]
    weight = torch.randn(4, 48, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(bitsandbytes_nf4(weight), nf4(weight), atol=1e-4)


def test_a_weight_of_zeros_stays() -> None:
    for rounded in (int8, int4, nf4):
        assert torch.equal(rounded(torch.zeros(2, 130)), torch.zeros(2, 130))


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_the_weights_are_as_before_afterwards(shape: str) -> None:
    """Also of GPT-2, whose weights lie the other way round: a change of the inputs' first column is its first row."""
    model = SHAPES[shape]()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}

    def first_input_off(_: str, weight: Tensor) -> Tensor:
        return torch.cat([torch.zeros(len(weight), 1), weight[:, 1:]], dim=1)

    with replaced(model, first_input_off):
        layer = next(iter(linear_layers(model).values()))
        row = layer.weight[0] if shape == "gpt2" else layer.weight[:, 0]
        assert not row.any()
        assert layer.weight.any()
    assert all(torch.equal(before[name], weight) for name, weight in model.state_dict().items())
