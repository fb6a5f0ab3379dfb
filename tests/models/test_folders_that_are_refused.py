"""A folder that is another model than it says, or that is not safe to read, is refused before anything is measured."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

import tokenizer_families
from expunge.adapters.loading import load_model
from expunge.errors import InputError
from expunge.models import loading
from expunge.models.loadable import check_loadable
from expunge.models.loading import load_config, load_tokenizer
from expunge.models.settings import Model
from tiny_models import random_model

LOADERS: list[Callable[[Model], Any]] = [load_config, load_tokenizer, load_model, check_loadable]
UP = "model.layers.1.mlp.up_proj.weight"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    random_model().save_pretrained(folder)
    tokenizer_families.gpt2_like().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "model")


def problem(load: Callable[[Model], Any], path: Path | str, **settings: Any) -> Any:
    with pytest.raises(InputError) as refused:
        load(Model(path=str(path), **settings))
    (said,) = refused.value.problems
    assert said.where == "model.path"
    return said


def with_adapter(folder: Path) -> None:
    wrapped = get_peft_model(
        random_model(), LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    wrapped.peft_config["default"].base_model_name_or_path = "organisation/base"
    wrapped.save_pretrained(folder)


@pytest.mark.parametrize("load", LOADERS)
def test_an_adapter_beside_the_model(load: Callable[[Model], Any], folder: Path) -> None:
    """transformers would add it while loading, and the fingerprint is of what lies beneath adapters."""
    load(Model(path=str(folder)))
    with_adapter(folder)
    said = problem(load, folder)
    assert "holds an adapter (adapter_config.json) beside the model" in said.reason
    assert "model.adapters" in said.remedy


def test_an_adapter_that_shows_only_when_it_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the hub no file is looked at before."""
    with_adapter(folder)
    monkeypatch.setattr(loading, "ADAPTER", "no such file")
    assert "beside the model" in problem(load_model, folder).reason


@pytest.mark.parametrize("load", LOADERS)
def test_an_adapter_without_a_model(load: Callable[[Model], Any], tmp_path: Path) -> None:
    with_adapter(tmp_path)
    said = problem(load, tmp_path)
    assert "holds an adapter and no model" in said.reason
    assert "'organisation/base'" in said.reason
    assert "--adapter" in said.remedy


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_weight_that_is_no_number(folder: Path, value: float, dtype: str) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[UP][3, 5] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    said = problem(load_model, folder, dtype=dtype)
    assert said.reason.endswith(f"holds weights that are no finite numbers: {UP}.")


def test_a_weight_that_float16_cannot_hold(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights[UP][3, 5] = 1e6
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    load_model(Model(path=str(folder)))
    assert "set model.dtype to bfloat16" in problem(load_model, folder, dtype="float16").remedy


def test_weights_that_the_model_has_no_place_for_are_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A configuration of one block takes two blocks for one, and all else fits."""
    load_model(Model(path=str(folder)))
    assert capsys.readouterr().err == ""
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 1}))
    load_model(Model(path=str(folder)))
    said = capsys.readouterr().err
    assert "left out: model.layers.1.input_layernorm.weight, " in said
    assert " more\n" in said


@pytest.mark.parametrize("load", [load_model, check_loadable])
@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("model-1.bin", "names model-1.bin, which is no safetensors file: reading it could run code."),
        ("../other.safetensors", "names a file outside the folder (../other.safetensors)."),
        ("a/../../other.safetensors", "names a file outside the folder (a/../../other.safetensors)."),
        ("/other.safetensors", "names a file outside the folder (/other.safetensors)."),
    ],
)
def test_an_index_that_names_what_must_not_be_read(
    load: Callable[[Model], Any], folder: Path, file: str, reason: str
) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model-1.bin").write_bytes(b"never opened")
    index = {"metadata": {}, "weight_map": {UP: file}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    assert problem(load, folder).reason.endswith(reason)


@pytest.mark.parametrize("load", LOADERS)
def test_a_name_that_no_folder_can_have(load: Callable[[Model], Any]) -> None:
    for name in ("/" + "x" * 5000, "x" * 5000, "./nul\0byte"):
        assert problem(load, name).reason.startswith("there is no folder ")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory"),
        OSError(12, "Cannot allocate memory"),
    ],
    ids=["python", "accelerator", "torch", "system"],
)
def test_too_little_memory_is_not_blamed_on_the_path(
    folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def out_of_memory(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(loading.AutoModelForCausalLM, "from_pretrained", out_of_memory)
    said = problem(load_model, folder)
    assert said.reason.endswith("does not fit into the memory that is free here.")
    assert "Check the path" not in said.remedy


def test_an_accelerator_that_is_too_small(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_large(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LlamaForCausalLM, "to", too_large)
    assert "does not fit into the memory" in problem(load_model, folder).reason
