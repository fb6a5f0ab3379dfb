"""A run in fp16 hands over an adapter of the checkpoint itself, which no other dtype of it refuses."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

import expunge
from expunge.cli import main
from expunge.storage import read_json


@pytest.fixture
def half(recipe: dict) -> expunge.Run:
    return expunge.unlearn(recipe, ["model.dtype=float16", "training.epochs=1"])


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["expunge", *arguments])
    main()


def test_it_is_merged_and_measured_on_the_base_in_its_own_dtype(
    half: expunge.Run, model_folder: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert half.state["model"]["dtype"] == "float16"
    run_command(monkeypatch, "export", str(half.path), "--to", "merged", "--output", str(tmp_path / "merged"))
    assert "Whether the change outlasts 16 bits was not tried" in capsys.readouterr().err
    merged, base = (
        AutoModelForCausalLM.from_pretrained(path) for path in (tmp_path / "merged", model_folder)
    )
    assert merged.dtype == base.dtype == torch.float32
    assert any(not torch.equal(*pair) for pair in zip(merged.parameters(), base.parameters(), strict=True))

    log = tmp_path / "log.json"
    run_command(
        monkeypatch, "eval", str(model_folder), "--adapter", str(half.adapter), "--benchmark", "memorization",
        "--forget", str(data_folder / "forget.jsonl"), "--max-new-tokens", "5", "--output", str(log),
    )  # fmt: skip
    ours = half.metrics["after"]["forget_probability"]["value"]
    found = read_json(log)
    assert found["metrics"]["forget_probability"]["value"] == pytest.approx(ours, rel=0.01)
    assert found["model"]["fingerprint"] == half.state["model"]["fingerprint"]
