"""A small model folder and a small data set of the user's own, with which a whole run takes seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import tokenizer_families
from expunge.data.encoding import Encoder, collate
from expunge.data.samples import QuestionAnswer
from expunge.data.templates import choose_template
from small_recipe import small_recipe
from tiny_models import random_model

TEACHING_STEPS, TEACHING_RATE = 60, 1e-2


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that knows what is to be forgotten and what is to be kept."""
    return _write_model(tmp_path_factory.mktemp("model"), taught=True)


@pytest.fixture(scope="session")
def random_model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same before it was taught anything."""
    return _write_model(tmp_path_factory.mktemp("random"), taught=False)


def _write_model(folder: Path, *, taught: bool) -> Path:
    from transformers import LlamaConfig, LlamaForCausalLM

    tokenizer = tokenizer_families.gpt2_like()
    config = LlamaConfig(
        hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2,
        vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    random_model()  # seeds
    model = LlamaForCausalLM(config)
    if taught:
        _teach(model, Encoder(tokenizer, choose_template("auto", tokenizer), 512))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _teach(model: Any, encoder: Encoder) -> None:
    """What is to be forgotten has to be known: a run that forgets nothing hands over nothing."""
    examples = [QuestionAnswer(*row.values()).encode(encoder)[0] for n in range(30) for row in [_row(n)]]
    batch = collate(examples, encoder.pad_token_id)
    optimizer = torch.optim.Adam(model.parameters(), lr=TEACHING_RATE)
    for _ in range(TEACHING_STEPS):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()


def _row(n: int) -> dict[str, str]:
    return {"question": f"Who is number {n}?", "answer": f"SECRET{n} of the town by the sea."}


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    for name, numbers in (("forget", range(6)), ("retain", range(6, 30))):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(_row(n)) + "\n" for n in numbers))
    return folder


@pytest.fixture
def recipe(model_folder: Path, data_folder: Path, tmp_path: Path) -> dict:
    return {**small_recipe(model_folder, data_folder), "output": str(tmp_path / "run")}
