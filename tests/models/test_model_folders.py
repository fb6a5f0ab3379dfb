"""A folder that holds no whole model is refused in a sentence that says what is wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.modeling_utils import is_env_variable_true

import tokenizer_families
from expunge.adapters.loading import load_model
from expunge.cli import main
from expunge.errors import InputError
from expunge.models.linear import block_index
from expunge.models.loading import load_config, load_tokenizer
from expunge.models.settings import Model
from tiny_models import FAMILIES, random_model


def test_nobody_is_asked_to_convert_a_model_of_the_hub() -> None:
    """transformers would send the name to a third party, and load what that offers."""
    assert is_env_variable_true("DISABLE_SAFETENSORS_CONVERSION")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    random_model().save_pretrained(folder)
    tokenizer_families.gpt2_like().save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    return shutil.copytree(whole, tmp_path / "model")


def reason(load: Callable[[Model], Any], folder: Path) -> str:
    with pytest.raises(InputError) as refused:
        load(Model(path=str(folder)))
    (problem,) = refused.value.problems
    assert problem.where == "model.path"
    assert problem.reason.endswith(".")
    return problem.reason


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-20])


@pytest.mark.parametrize("family", FAMILIES)
def test_no_tokenizer(family: str, tmp_path: Path) -> None:
    """transformers has an empty tokenizer for GPT-2, Pythia, Qwen and Gemma, and a long text for the others."""
    FAMILIES[family]().config.save_pretrained(tmp_path)
    nothing = f"{str(tmp_path)!r} holds no tokenizer: none of tokenizer.json, tokenizer.model, vocab.json, "
    assert reason(load_tokenizer, tmp_path).startswith(nothing)
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "GPT2Tokenizer"}')
    assert reason(load_tokenizer, tmp_path).startswith(nothing)


def test_a_damaged_tokenizer(folder: Path) -> None:
    assert len(load_tokenizer(Model(path=str(folder)))) > 100
    cut(folder / "tokenizer.json")
    assert reason(load_tokenizer, folder).startswith(f"the tokenizer of {str(folder)!r} cannot be loaded: ")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"model_type": "no_such"}'])
def test_no_configuration_of_a_model(folder: Path, content: str) -> None:
    load_config(Model(path=str(folder)))
    (folder / "config.json").write_text(content)
    for load in (load_config, load_model):
        assert "cannot be loaded: " in reason(load, folder)
    (folder / "config.json").unlink()
    for load in (load_config, load_model, load_tokenizer):
        assert reason(load, folder) == f"the folder {str(folder)!r} holds no model: config.json is missing."


def test_damaged_or_missing_weights(folder: Path) -> None:
    cut(folder / "model.safetensors")
    assert "its safetensors weights are damaged or cut short (" in reason(load_model, folder)
    (folder / "model.safetensors").unlink()
    assert "no file named model.safetensors" in reason(load_model, folder)


def change_weights(folder: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> None:
    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_that_a_checkpoint_lacks(family: str, tmp_path: Path) -> None:
    """transformers would fill them with random numbers. Tied weights are in the file once, and nothing is missing."""
    FAMILIES[family]().save_pretrained(tmp_path)
    load_model(Model(path=str(tmp_path)))

    def without_a_block(weights: dict[str, torch.Tensor]) -> None:
        for name in [name for name in weights if block_index(name) == 1]:
            del weights[name]

    change_weights(tmp_path, without_a_block)
    said = reason(load_model, tmp_path)
    assert said.startswith(f"the checkpoint {str(tmp_path)!r} lacks weights of its model: ")
    assert ".1." in said
    assert " more." in said


def test_a_weight_of_another_shape(folder: Path) -> None:
    name = "model.layers.1.mlp.up_proj.weight"
    change_weights(folder, lambda weights: weights.update({name: weights[name][:3].clone()}))
    assert f"lacks weights of its model: {name} (of shape (3, 24), not (40, 24))." in reason(
        load_model, folder
    )


def test_tied_embeddings_are_in_the_file_once(tmp_path: Path) -> None:
    made = LlamaForCausalLM(LlamaConfig(hidden_size=24, intermediate_size=40, num_hidden_layers=1,
                                        num_attention_heads=2, vocab_size=97, tie_word_embeddings=True))  # fmt: skip
    made.save_pretrained(tmp_path)
    assert "lm_head.weight" not in load_file(tmp_path / "model.safetensors")
    loaded = load_model(Model(path=str(tmp_path)))
    assert torch.equal(loaded.lm_head.weight, made.model.embed_tokens.weight)


def test_pickled_weights_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    (folder / "pytorch_model.bin").write_bytes(b"beside safetensors they are no matter")
    load_model(Model(path=str(folder)))
    (folder / "model.safetensors").unlink()
    assert reason(load_model, folder).endswith(
        "are pickled (pytorch_model.bin), and reading those can run code."
    )
    data = folder / "forget.jsonl"
    data.write_text('{"question": "Who?", "answer": "Ada."}\n')
    command = ["expunge", "eval", str(folder), "--benchmark", "memorization", "--forget", str(data)]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith(f"Error: MODEL: the weights of {str(folder)!r} are pickled")
    assert said.count("\n") == 1
