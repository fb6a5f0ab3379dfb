"""A checkpoint has one fingerprint, in whatever dtype or quantisation it is loaded."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from expunge import attach_adapter, export_adapter
from expunge.adapters.anchor import UNLEARN, adapted_layers
from expunge.adapters.assistant import first_blocks
from expunge.adapters.loading import load_model
from expunge.models import loading
from expunge.models.fingerprint import fingerprint
from expunge.models.linear import linear_layers
from expunge.models.loading import load_config
from expunge.models.settings import Model
from tiny_models import random_model

UP = "model.layers.1.mlp.up_proj"


@pytest.fixture(scope="module", params=[torch.float32, torch.bfloat16, torch.float16], ids=str)
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the weights of such a checkpoint fp16 rounds some, those under 6e-5, even where they are bf16."""
    model = random_model()
    for parameter in model.parameters():
        parameter.data.mul_(0.3 ** (torch.arange(parameter.shape[-1]) % 8))
    folder = tmp_path_factory.mktemp("checkpoint")
    model.to(request.param).save_pretrained(folder)
    return folder


def load(folder: Path, **settings: Any) -> Any:
    return load_model(Model(path=str(folder), **settings))


def test_it_does_not_depend_on_the_dtype(folder: Path) -> None:
    half = load(folder, dtype="float16")
    assert {parameter.dtype for parameter in half.parameters()} == {torch.float16}
    assert fingerprint(half) == fingerprint(load(folder)) == fingerprint(load(folder, dtype="bfloat16"))
    rounded = fingerprint(LlamaForCausalLM.from_pretrained(folder, dtype=torch.float16))
    own = load_config(Model(path=str(folder))).dtype
    assert (rounded == fingerprint(half)) == (own == torch.float16)


def test_in_fp16_too_any_change_and_any_part_has_its_own(folder: Path) -> None:
    half, whole = load(folder, dtype="float16"), load(folder)
    assert fingerprint(first_blocks(half, 1)) == fingerprint(first_blocks(whole, 1)) != fingerprint(whole)
    assert fingerprint(attach_adapter(copy.deepcopy(half), rank=2)) == fingerprint(whole)
    half.get_submodule(UP).weight.data.mul_(1.02)
    assert fingerprint(half) != fingerprint(whole)


def test_with_adapters_added_too(folder: Path, tmp_path: Path) -> None:
    wrapped = attach_adapter(load(folder), rank=2)
    for layer in adapted_layers(wrapped).values():
        nn.init.normal_(layer.lora_B[UNLEARN].weight, std=0.3)
    adapters = [str(export_adapter(wrapped, tmp_path / "adapter"))]
    whole = load(folder, adapters=adapters)
    half = load(folder, dtype="float16", adapters=adapters)
    assert fingerprint(half) == fingerprint(whole) != fingerprint(load(folder))
    assert torch.equal(half.get_submodule(UP).weight, whole.get_submodule(UP).weight.half())  # rounded once


class Quantising:
    """`from_pretrained` that packs the linear layers as bitsandbytes does: two numbers a byte, in one column."""

    def __init__(self) -> None:
        self.loads = 0

    def __call__(self, *arguments: Any, quantization_config: Any = None, **options: Any) -> Any:
        self.loads += 1
        options.pop("device_map", None)
        model, found = LlamaForCausalLM.from_pretrained(
            *arguments, **{name: value for name, value in options.items() if name != "trust_remote_code"}
        )
        for module in linear_layers(model).values() if quantization_config else ():
            bytes_of = module.weight.data.flatten()[::2].mul(99).to(torch.uint8)
            module.weight = nn.Parameter(bytes_of[:, None], requires_grad=False)
        return model, found


def test_it_does_not_depend_on_the_quantisation(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = fingerprint(load(folder))
    monkeypatch.setattr(loading, "quantization_config", lambda model: "4 bits")
    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", Quantising())
    quantised = load(folder, quantization="4bit")
    assert quantised.get_submodule(UP).weight.dtype == torch.uint8
    assert fingerprint(quantised) == whole
    quantised.get_submodule(UP).weight.data.add_(1)
    assert fingerprint(quantised) != whole


def test_a_checkpoint_that_is_itself_quantised_has_no_other_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it once more would not give them, and on a CPU it may fail."""
    random_model().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "quantization_config": {"bits": 4}}))
    reader = Quantising()
    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", reader)
    monkeypatch.setattr(LlamaForCausalLM, "from_pretrained", lambda *_, **__: (random_model().half(), {
        "missing_keys": set(), "mismatched_keys": set(), "unexpected_keys": set()}))  # fmt: skip
    loaded = load(tmp_path, dtype="float16")
    assert reader.loads == 1
    assert fingerprint(loaded) == fingerprint(random_model().half())
