"""A base in 4 or 8 bits is measured, adapted and exported as the model of its dequantised weights.

bitsandbytes is an optional dependency: without it these tests are skipped.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel

from expunge import attach_adapter, export_adapter, measure_importance
from expunge.adapters.loading import load_model
from expunge.adapters.low_rank import weighted_low_rank
from expunge.adapters.origin import read_origin
from expunge.models.fingerprint import fingerprint
from expunge.models.linear import linear_layers, weight_matrix
from expunge.models.seeds import seed_for
from expunge.models.settings import Model
from tiny_models import random_batch, random_model

pytest.importorskip("bitsandbytes", reason="the extra 'quantization' is not installed")

RANK, ALPHA = 2, 4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base")
    random_model().save_pretrained(folder)
    return folder


def load(folder: Path, quantization: str | None) -> Any:
    return load_model(Model(path=str(folder), quantization=quantization))


def dequantised(folder: Path, quantised: Any) -> Any:
    """The model in fp32 with the weights that the quantised one computes with."""
    model = load(folder, None)
    layers = linear_layers(model)
    for name, layer in linear_layers(quantised).items():
        layers[name].weight.data.copy_(weight_matrix(layer))
    return model


def test_importance_and_start_are_those_of_the_dequantised_weights(folder: Path) -> None:
    base = load(folder, "4bit")
    oracle = dequantised(folder, base)
    forget, retain = [random_batch(4)], [random_batch(3, seed=1)]
    measured = measure_importance(base, forget, retain)
    expected = measure_importance(oracle, forget, retain)
    assert measured.keys() == expected.keys()
    for name, rows in measured.items():
        torch.testing.assert_close(rows, expected[name], rtol=1e-3, atol=1e-5)
    with torch.no_grad():
        before = base(**inputs(forget[0])).logits
    torch.testing.assert_close(oracle(**inputs(forget[0])).logits, before, rtol=1e-4, atol=1e-5)
    name, layer = next(iter(linear_layers(oracle).items()))
    A, B = weighted_low_rank(
        layer.weight.detach(), expected[name], RANK, ALPHA / RANK, seed_for(0, name, "decomposition")
    )
    wrapped = attach_adapter(base, expected, rank=RANK, alpha=ALPHA)
    adapted = wrapped.get_base_model().get_submodule(name)
    torch.testing.assert_close(adapted.lora_B["unlearn"].weight @ adapted.lora_A["unlearn"].weight, B @ A)
    with torch.no_grad():
        assert torch.equal(wrapped(**inputs(forget[0])).logits, before)


@pytest.mark.parametrize("quantization", ["4bit", "8bit"])
def test_what_is_exported_fits_the_checkpoint(folder: Path, tmp_path: Path, quantization: str) -> None:
    """It names the checkpoint, and on it changes what it changed on the quantised base."""
    whole = load(folder, None)
    base = load(folder, quantization)
    batch = inputs(random_batch(2))
    with torch.no_grad():
        base(**batch)  # a first pass must leave the weights in their order
    assert fingerprint(base) == fingerprint(whole)
    wrapped = attach_adapter(base, None, rank=RANK, alpha=ALPHA)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
            assert weight.requires_grad
    loss = wrapped(**batch).logits.square().mean()
    loss.backward()
    assert all(weight.grad is not None for weight in wrapped.parameters() if weight.requires_grad)
    exported = export_adapter(wrapped, tmp_path / "adapter", base_name=str(folder))
    origin = read_origin(exported)
    assert (origin.base, origin.fingerprint) == (str(folder), fingerprint(whole))
    loaded = PeftModel.from_pretrained(copy.deepcopy(whole), str(exported))
    for name, layer in loaded.get_base_model().named_modules():
        if hasattr(layer, "lora_A"):
            ours = wrapped.get_base_model().get_submodule(name).get_delta_weight("unlearn")
            torch.testing.assert_close(layer.get_delta_weight("default"), ours, rtol=1e-4, atol=1e-6)


def inputs(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: batch[name] for name in ("input_ids", "attention_mask")}
