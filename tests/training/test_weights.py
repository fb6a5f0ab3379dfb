"""Checkpoints without an adapter hold every weight once, and put back what was saved."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from expunge.errors import InputError
from expunge.training.weights import MODEL_FILE, load_trained, save_trained
from tiny_models import random_batch, random_model

IDS = random_batch(2)["input_ids"]


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
def test_all_weights_go_there_and_back(shape: str, tmp_path: Path) -> None:
    model = random_model(shape)
    tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert tied == (shape == "gpt2")
    with torch.no_grad():
        wanted = model(input_ids=IDS).logits
        save_trained(model, tmp_path / "checkpoint")
        for parameter in model.parameters():
            parameter.mul_(1.1)
        assert not torch.allclose(model(input_ids=IDS).logits, wanted, atol=1e-2)
        load_trained(model, tmp_path / "checkpoint")
        assert torch.equal(model(input_ids=IDS).logits, wanted)
    assert (model.get_output_embeddings().weight is model.get_input_embeddings().weight) == tied
    stored = load_file(tmp_path / "checkpoint" / MODEL_FILE)
    assert stored.keys() == dict(model.named_parameters()).keys()


def test_the_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    save_trained(random_model("gpt2"), tmp_path)
    with pytest.raises(ValueError, match="a checkpoint of another model"):
        load_trained(random_model("llama"), tmp_path)


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    model = random_model("llama")
    save_trained(model, tmp_path)
    file = tmp_path / MODEL_FILE
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(InputError, match="it cannot be read: ") as refused:
        load_trained(model, tmp_path)
    assert refused.value.problems[0].where == str(file)
