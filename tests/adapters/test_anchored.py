"""Step 0 is the original model, the reference is one flag away, and what is exported is what was trained."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.utils import save_and_load
from transformers import AutoModelForCausalLM

from expunge import attach_adapter, export_adapter
from expunge.adapters.anchor import ANCHOR, UNLEARN, adapted_layers, restore, save_adapter
from expunge.adapters.attach import uniform_importance
from expunge.adapters.export import balanced_factors, export_merged
from expunge.adapters.low_rank import weighted_low_rank
from expunge.adapters.origin import FINGERPRINT_FILE
from expunge.errors import InputError
from expunge.models.fingerprint import fingerprint
from expunge.storage import read_json
from tiny_models import SHAPES, random_batch, random_model

IDS = random_batch(4)["input_ids"]


def logits(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def row_weights(model) -> dict[str, torch.Tensor]:
    return {name: torch.rand(len(ones)) + 0.1 for name, ones in uniform_importance(model).items()}


def trained(model: PeftModel) -> PeftModel:
    """Stands for training: the trainable adapter moves."""
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("initialization", ["default", "pissa", "measured"])
def test_step_0_is_the_base_model_bit_for_bit(shape: str, dtype: torch.dtype, initialization: str) -> None:
    base = random_model(shape).to(dtype)
    wanted = logits(base)
    rows = {"default": None, "pissa": uniform_importance(base), "measured": row_weights(base)}[initialization]
    model = attach_adapter(base, rows, rank=4, alpha=8)
    assert torch.equal(logits(model), wanted)
    trained(model)
    assert not torch.allclose(logits(model), wanted, atol=1e-2)
    with model.disable_adapter():
        assert torch.equal(logits(model), wanted)


def test_a_rank_above_the_width_leaves_zeros_which_training_does_not_move() -> None:
    """24 wide: all of W is taken over, the last 8 of 32 rows and columns stay out of it."""
    base = random_model()
    wanted = logits(base)
    model = attach_adapter(base, row_weights(base), rank=32, alpha=64)
    assert torch.equal(logits(model), wanted)
    optimizer = torch.optim.AdamW(
        (parameter for parameter in model.parameters() if parameter.requires_grad), lr=1e-2
    )
    for _ in range(2):
        model(input_ids=IDS, labels=IDS).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert not torch.allclose(logits(model), wanted, atol=1e-2)
    for layer in adapted_layers(model).values():
        A, B = layer.lora_A[UNLEARN].weight, layer.lora_B[UNLEARN].weight
        assert A[:24].any(1).all()
        assert B[:, :24].any(0).all()
        assert not A[24:].any()
        assert not B[:, 24:].any()


def test_only_the_unlearn_adapter_is_trained_also_after_the_reference_was_asked() -> None:
    model = attach_adapter(random_model(), row_weights(random_model()), rank=4)
    with model.disable_adapter():
        logits(model)
    trainable = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert trainable
    assert all(f".{UNLEARN}." in name for name in trainable)
    assert any(f".{ANCHOR}." in name for name, _ in model.named_parameters())


def test_the_base_weights_are_not_touched() -> None:
    base = random_model()
    before = {name: parameter.clone() for name, parameter in base.named_parameters()}
    model = attach_adapter(base, row_weights(base))
    for name, parameter in model.get_base_model().named_parameters():
        if ".lora_" not in name:
            assert torch.equal(parameter, before[name.replace(".base_layer.", ".")])


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("initialization", ["default", "measured"])
def test_the_exported_adapter_fits_the_untouched_base(shape: str, initialization: str, tmp_path) -> None:
    base = random_model(shape)
    original = copy.deepcopy(base)
    model = trained(attach_adapter(base, row_weights(base) if initialization == "measured" else None, rank=4))
    wanted = logits(model)
    export_adapter(model, tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(copy.deepcopy(original), str(tmp_path / "adapter"))
    torch.testing.assert_close(logits(loaded), wanted, rtol=0, atol=1e-5)
    assert loaded.peft_config["default"].r == (8 if initialization == "measured" else 4)

    export_merged(copy.deepcopy(original), None, tmp_path / "adapter", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype=torch.float32).eval()
    torch.testing.assert_close(logits(merged), wanted, rtol=0, atol=1e-5)


def test_merging_keeps_the_dtype_of_the_base_and_rounds_once(tmp_path) -> None:
    base = random_model().to(torch.bfloat16)
    original = copy.deepcopy(base)
    model = trained(attach_adapter(base, row_weights(base), rank=4))
    export_adapter(model, tmp_path / "adapter")
    export_merged(copy.deepcopy(original), None, tmp_path / "adapter", tmp_path / "merged")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged", dtype="auto")
    name = "model.layers.0.mlp.up_proj"
    layer = model.get_base_model().get_submodule(name)
    change = 2.0 * (
        layer.lora_B[UNLEARN].weight.double() @ layer.lora_A[UNLEARN].weight.double()
        - layer.lora_B[ANCHOR].weight.double() @ layer.lora_A[ANCHOR].weight.double()
    ) * (16 / 4) / 2.0  # fmt: skip
    wanted = (original.get_submodule(name).weight.double() + change).to(torch.bfloat16)
    assert merged.dtype == torch.bfloat16
    differing = (merged.get_submodule(name).weight != wanted).float().mean()
    assert differing < 0.002  # fp32 against float64 before one rounding to bf16


def test_a_saved_start_is_restored_exactly(tmp_path) -> None:
    base = random_model()
    original = copy.deepcopy(base)
    model = attach_adapter(base, row_weights(base), rank=4)
    save_adapter(model, tmp_path)
    again = restore(original, tmp_path)
    ours, theirs = model.state_dict(), again.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_an_adapter_is_refused_by_another_base(tmp_path) -> None:
    base = random_model()
    export_adapter(attach_adapter(base, row_weights(base)), tmp_path / "adapter")
    other = random_model(scale=4.0)
    with pytest.raises(InputError) as caught:
        export_merged(other, None, tmp_path / "adapter", tmp_path / "merged")
    recorded = read_json(tmp_path / "adapter" / FINGERPRINT_FILE)["fingerprint"]
    assert recorded in str(caught.value)
    assert fingerprint(other) in str(caught.value)
    assert not (tmp_path / "merged").exists()


def test_a_folder_with_something_else_is_not_replaced(tmp_path) -> None:
    base = random_model()
    original = copy.deepcopy(base)
    model = attach_adapter(base, row_weights(base))
    (tmp_path / "thesis.doc").write_text("mine")
    with pytest.raises(InputError, match=r"holds no adapter_config\.json"):
        export_adapter(model, tmp_path)
    export_adapter(model, tmp_path / "adapter")
    export_adapter(model, tmp_path / "adapter")
    with pytest.raises(InputError, match=r"holds no config\.json"):
        export_merged(original, None, tmp_path / "adapter", tmp_path)
    assert (tmp_path / "thesis.doc").read_text() == "mine"


def test_the_fingerprint_is_of_the_base_in_any_dtype_and_changes_with_any_weight() -> None:
    base = random_model()
    found = fingerprint(base)
    assert fingerprint(copy.deepcopy(base).to(torch.bfloat16)) == found
    changed = copy.deepcopy(base)
    changed.model.layers[1].mlp.down_proj.weight.data.mul_(1.02)
    assert fingerprint(changed) != found
    assert fingerprint(attach_adapter(base, row_weights(base))) == found


def test_every_layer_is_decomposed_with_a_seed_of_its_own() -> None:
    """Drawn by its name, so that it does not depend on which other layers are adapted."""
    base, seen = random_model(), {}

    def decompose(weight, row_weights, rank, scaling, seed):
        seen[seed] = seen.get(seed, 0) + 1
        return weighted_low_rank(weight, row_weights, rank, scaling, seed)

    importance = row_weights(base)
    attach_adapter(copy.deepcopy(base), importance, seed=1, low_rank=decompose)
    assert set(seen.values()) == {1}
    assert len(seen) == len(importance) == 14
    one = dict([list(importance.items())[5]])
    attach_adapter(copy.deepcopy(base), one, seed=1, low_rank=decompose)
    assert sorted(seen.values()) == [1] * 13 + [2]
    attach_adapter(copy.deepcopy(base), importance, seed=2, low_rank=decompose)
    assert len(seen) == 28


def test_balanced_factors_have_the_same_product_and_equal_lengths() -> None:
    A, B = torch.randn(6, 5), torch.randn(9, 6)
    new_A, new_B = balanced_factors(A, B)
    assert new_A.shape == A.shape
    assert new_B.shape == B.shape
    torch.testing.assert_close(new_B @ new_A, B @ A, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(new_A.norm(dim=1), new_B.norm(dim=0), rtol=1e-4, atol=1e-6)


def test_merging_in_place_is_refused() -> None:
    base = random_model()
    model = attach_adapter(base, row_weights(base))
    with pytest.raises(NotImplementedError, match="export_adapter"):
        model.merge_and_unload()


@pytest.mark.shared
def test_on_a_trained_model_the_export_is_right_to_rounding(shared, tmp_path) -> None:
    """tofu-tiny's logits reach 30: in fp32 the model itself is off by up to 4e-5, so 1e-5 is asked for in float64."""
    path = shared / "models" / "tofu-tiny" / "full"

    def load(dtype: torch.dtype):
        return AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()

    base = load(torch.float32)
    before = logits(base)
    model = attach_adapter(base, uniform_importance(base))
    assert torch.equal(logits(model), before)
    trained(model)
    export_adapter(model, tmp_path / "adapter")
    single = PeftModel.from_pretrained(load(torch.float32), str(tmp_path / "adapter"))
    double = PeftModel.from_pretrained(load(torch.float64), str(tmp_path / "adapter")).double()
    exact = logits(model.double())
    torch.testing.assert_close(logits(double), exact, rtol=0, atol=1e-5)
    torch.testing.assert_close(logits(single).double(), exact, rtol=0, atol=1e-4)


def test_an_importance_of_another_model_is_refused():
    """Also one of no layer: it is not the absence of one, which means LoRA's own initialisation."""
    rows = row_weights(random_model())
    name = next(iter(rows))
    for other, reason in (
        ({}, "it is of no layer"),
        ({"encoder.0": rows[name]}, "no linear layer 'encoder.0'"),
        ({name: rows[name][1:]}, rf"it has shape \({len(rows[name]) - 1},\), not \({len(rows[name])},\)"),
    ):
        with pytest.raises(InputError, match=reason):
            attach_adapter(random_model(), other)


def test_writing_an_adapter_asks_no_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PEFT would ask whether the vocabulary of the model's name has changed since."""
    model = attach_adapter(random_model("llama"), rank=2)
    model.peft_config[UNLEARN].base_model_name_or_path = "organisation/model"
    asked: list[Any] = []
    monkeypatch.setattr(
        save_and_load, "check_file_exists_on_hf_hub", lambda *given, **more: asked.append(given)
    )
    save_adapter(model, tmp_path)
    assert asked == []
    assert (tmp_path / "adapter_model.safetensors").is_file()
