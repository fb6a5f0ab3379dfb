"""SIGTERM and Ctrl-C: the state says what happened, and a resume ends with the weights of an uninterrupted run."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml

import expunge
from expunge.cli import main
from expunge.storage import LOCK, read_json
from expunge.training import trainer


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_state_says_it_and_a_resume_gives_the_same_weights(
    recipe: dict,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: signal.Signals,
) -> None:
    recipe["adapter"] = {"initialization": "default", "rank": 2, "alpha": 16}
    recipe["evaluation"] = {**recipe.get("evaluation", {}), "generate": "never"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    real, folder = trainer.save_trained, tmp_path / "ended"
    command = ["expunge", "run", str(tmp_path / "recipe.yaml"), "--output", str(folder)]

    def ended_while_saving(model: Any, target: Path, *more: Any) -> None:
        if list((folder / "checkpoints").glob("checkpoint-*")):
            assert (folder / LOCK).exists()
            os.kill(os.getpid(), number)
        real(model, target, *more)

    monkeypatch.setattr(trainer, "save_trained", ended_while_saving)
    monkeypatch.setattr("sys.argv", command)
    before = signal.getsignal(signal.SIGTERM)
    # A shell's background job, as the suite may be, begins with Ctrl-C ignored.
    keyboard = signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.raises(SystemExit) as leave:
        main()
    signal.signal(signal.SIGTERM, before)
    signal.signal(signal.SIGINT, keyboard)
    assert leave.value.code == 130
    assert capsys.readouterr().err.endswith(
        "Interrupted. A run goes on where it was by the same command with --resume.\n"
    )
    state = read_json(folder / "run.json")
    said = f"Interrupted by {number.name}. Go on by the same command with --resume."
    assert (state["state"], state["error"]) == ("failed", said)
    assert not (folder / LOCK).exists()
    monkeypatch.setattr(trainer, "save_trained", real)
    resumed = expunge.unlearn(recipe, output=folder, resume=True)
    whole = expunge.unlearn(recipe, output=tmp_path / "whole")
    weights = "adapter_model.safetensors"
    assert (resumed.adapter / weights).read_bytes() == (whole.adapter / weights).read_bytes()
    assert (resumed.state["state"], resumed.state["error"]) == ("done", None)
