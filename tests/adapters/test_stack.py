"""Adapters on top of one another: added to the weights, combined into one, refused in a wrong order."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file

from expunge import attach_adapter, export_adapter
from expunge.adapters.anchor import UNLEARN, adapted_layers
from expunge.adapters.loading import load_model
from expunge.adapters.origin import read_origin
from expunge.adapters.stack import add_adapters, combine_adapters
from expunge.errors import InputError
from expunge.models.fingerprint import fingerprint
from expunge.models.settings import Model
from tiny_models import random_batch, random_model

BATCH = random_batch(3)


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=BATCH["input_ids"], attention_mask=BATCH["attention_mask"]).logits


def trained_adapter(model: Any, beneath: list[Path], folder: Path, seed: int, **settings: Any) -> Path:
    """An adapter on `model` with random factors in the place of trained ones."""
    wrapped = attach_adapter(copy.deepcopy(model), rank=2, alpha=4, seed=seed, **settings)
    torch.manual_seed(seed)
    for layer in adapted_layers(wrapped).values():
        torch.nn.init.normal_(layer.lora_B[UNLEARN].weight, std=0.3)
    return export_adapter(wrapped, folder, base_name="base", beneath=beneath)


@pytest.fixture(params=["llama", "gpt2"], scope="module")
def stack(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, list[Path]]:
    """A base in fp32 whose weights bf16 can hold, and three adapters, each on those before it; other layers each."""
    base = random_model(request.param).bfloat16().float()
    targets = ("ffn", "all-linear", "q_v") if request.param == "llama" else ("ffn", "all-linear", "ffn")
    folder, folders = tmp_path_factory.mktemp("stack"), []
    for number, kind in enumerate(targets, start=1):
        model = copy.deepcopy(base)
        add_adapters(model, folders)
        folders = [*folders, trained_adapter(model, folders, folder / str(number), number, targets=kind)]
    return base, folders


def summed(base: Any, folders: list[Path]) -> Any:
    """Oracle: every change B A added to its weight, one after the other, in fp64."""
    model = copy.deepcopy(base).double()
    for folder in folders:
        weights = load_file(folder / "adapter_model.safetensors")
        for key, A in weights.items():
            if key.endswith("lora_A.weight"):
                module = model.get_submodule(
                    key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
                )
                change = weights[key.replace("lora_A", "lora_B")].double() @ A.double()
                module.weight.data += change.T if type(module).__name__ == "Conv1D" else change
    return model


def test_the_changes_are_added_to_the_weights(stack: tuple[Any, list[Path]]) -> None:
    base, folders = stack
    for count in range(len(folders) + 1):
        model = copy.deepcopy(base)
        add_adapters(model, folders[:count])
        torch.testing.assert_close(
            logits(model).double(), logits(summed(base, folders[:count])), rtol=0, atol=1e-5
        )
    one = copy.deepcopy(base)
    add_adapters(one, folders[:1])
    wrapped = PeftModel.from_pretrained(copy.deepcopy(base), str(folders[0]))
    torch.testing.assert_close(logits(one), logits(wrapped), rtol=0, atol=1e-5)


def test_one_adapter_holds_what_all_did(stack: tuple[Any, list[Path]], tmp_path: Path) -> None:
    base, folders = stack
    stacked = copy.deepcopy(base)
    add_adapters(stacked, folders)
    combined = combine_adapters(folders, tmp_path / "combined")
    found = PeftModel.from_pretrained(copy.deepcopy(base), str(combined))
    assert (logits(stacked) - logits(base)).abs().max() > 0.1
    torch.testing.assert_close(logits(found), logits(stacked), rtol=0, atol=1e-5)
    config = found.peft_config["default"]
    assert config.r == config.lora_alpha == 2 + 2 + 2
    assert read_origin(combined).fingerprint == read_origin(combined).original == fingerprint(base)
    again = copy.deepcopy(base)
    add_adapters(again, [combined])  # it belongs to the original alone
    torch.testing.assert_close(logits(again), logits(stacked), rtol=0, atol=1e-5)


def test_an_adapter_knows_what_it_was_trained_on(stack: tuple[Any, list[Path]]) -> None:
    base, folders = stack
    for count, folder in enumerate(folders):
        beneath = copy.deepcopy(base)
        add_adapters(beneath, folders[:count])
        origin = read_origin(folder)
        assert origin.fingerprint == fingerprint(beneath)
        assert origin.original == fingerprint(base)
        assert len(origin.beneath) == count


def test_bf16_and_fp32_have_the_same_fingerprint(stack: tuple[Any, list[Path]]) -> None:
    base, folders = stack
    single, half = copy.deepcopy(base), copy.deepcopy(base).bfloat16()
    add_adapters(single, folders)
    add_adapters(half, folders)
    assert fingerprint(single) == fingerprint(half) != fingerprint(base)
    assert next(half.parameters()).dtype is torch.bfloat16


def test_a_base_that_bf16_cannot_hold_is_one_model_in_both(tmp_path: Path) -> None:
    """As it is merged: the sum of the checkpoint's own weights and the changes, not of those that bf16 rounded."""
    base = random_model("llama")
    base.save_pretrained(tmp_path / "base")
    folders = [trained_adapter(base, [], tmp_path / "1", 1)]
    whole, half = (
        load_model(Model(path=str(tmp_path / "base"), dtype=dtype, adapters=[str(each) for each in folders]))
        for dtype in ("float32", "bfloat16")
    )
    assert fingerprint(half) == fingerprint(whole) != fingerprint(base)
    for ours, theirs in zip(half.parameters(), whole.parameters(), strict=True):
        assert torch.equal(ours, theirs.bfloat16())


@pytest.mark.parametrize("order", [(1, 0), (0, 2, 1), (0, 0), (0, 1, 2, 0)])
def test_a_wrong_order_is_refused_with_both_fingerprints(
    stack: tuple[Any, list[Path]], order: tuple[int, ...]
) -> None:
    base, folders = stack
    before = copy.deepcopy(base)
    add_adapters(before, [folders[number] for number in order[:-1]])
    with pytest.raises(InputError) as refused:
        add_adapters(copy.deepcopy(base), [folders[number] for number in order])
    (problem,) = refused.value.problems
    assert problem.where == f"model.adapters: {folders[order[-1]]}"
    assert read_origin(folders[order[-1]]).fingerprint in problem.reason
    assert fingerprint(before) in problem.reason
    assert "in the order in which they were made" in problem.remedy


def test_another_base_is_refused_with_both_fingerprints(stack: tuple[Any, list[Path]]) -> None:
    base, folders = stack
    other = copy.deepcopy(base)
    next(other.parameters()).data.mul_(1.5)
    with pytest.raises(InputError) as refused:
        add_adapters(other, folders)
    assert fingerprint(base) in str(refused.value)
    assert fingerprint(other) in str(refused.value)


@pytest.mark.parametrize(("kept", "missing"), [((0, 2), 1), ((1, 2), 1), ((2,), 2)])
def test_one_that_is_left_out_is_rolled_back(
    stack: tuple[Any, list[Path]], kept: tuple[int, ...], missing: int, capsys: pytest.CaptureFixture[str]
) -> None:
    base, folders = stack
    chosen = [folders[number] for number in kept]
    model = copy.deepcopy(base)
    add_adapters(model, chosen)
    torch.testing.assert_close(logits(model).double(), logits(summed(base, chosen)), rtol=0, atol=1e-5)
    assert f"Left out beneath {folders[2]}: {missing} adapter" in capsys.readouterr().err


def test_adapters_of_two_bases_are_not_combined(stack: tuple[Any, list[Path]], tmp_path: Path) -> None:
    base, folders = stack
    other = copy.deepcopy(base)
    next(other.parameters()).data.mul_(1.5)
    foreign = trained_adapter(other, [], tmp_path / "foreign", 7)
    with pytest.raises(InputError) as refused:
        combine_adapters([folders[0], foreign], tmp_path / "combined")
    assert fingerprint(base) in str(refused.value)
    assert fingerprint(other) in str(refused.value)
    assert not (tmp_path / "combined").exists()


def test_folders_without_an_adapter_are_all_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        add_adapters(random_model(), [tmp_path / "one", tmp_path / "two"])
    assert [problem.where for problem in refused.value.problems] == [
        f"model.adapters: {tmp_path / name}" for name in ("one", "two")
    ]
