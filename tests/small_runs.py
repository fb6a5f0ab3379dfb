"""A small model folder and a small data set of the user's own, with which a whole run takes seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import tokenizer_families
from small_recipe import small_recipe
from tiny_models import random_model


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("model")
    tokenizer = tokenizer_families.gpt2_like()
    config = LlamaConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
        vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    random_model()  # seeds
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, numbers in (("forget", range(6)), ("retain", range(6, 30))):
        rows = [
            {"question": f"Who is number {n}?", "answer": f"SECRET{n} of the town by the sea."}
            for n in numbers
        ]
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def recipe(model_folder: Path, data_folder: Path, tmp_path: Path) -> dict:
    return {**small_recipe(model_folder, data_folder), "output": str(tmp_path / "run")}
