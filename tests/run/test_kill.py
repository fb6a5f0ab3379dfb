"""Killed six times with SIGKILL, each time resumed: the adapter of an uninterrupted run, bit for bit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from expunge.storage import read_json

pytestmark = [pytest.mark.slow, pytest.mark.shared]


def write_recipe(shared: Path, folder: Path) -> Path:
    """Forget 12 questions of TOFU with tofu-tiny, keeping 40."""
    for name, source, rows in (("forget", "forget01", 12), ("retain", "retain99", 40)):
        lines = (shared / "data" / "tofu" / f"{source}.json").read_text().splitlines()[:rows]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    recipe = {
        "model": {"path": str(shared / "models" / "tofu-tiny" / "full")},
        "data": {"forget": str(folder / "forget.jsonl"), "retain": str(folder / "retain.jsonl")},
        "adapter": {"initialization": "factored", "rank": 8},
        "objective": {"forget": "npo", "retain": "nll"},
        "training": {"epochs": 3, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 2e-3, "warmup": 0},
        "evaluation": {"max_new_tokens": 60},
        "attacks": {"budget": "none"},
    }
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    return file


def start(recipe: Path, output: Path, *options: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "expunge", "run", str(recipe), "--output", str(output), *options]
    # Rounding depends on how many threads share a matrix product, so their number is kept the same.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment
    )


def phase_state(output: Path, phase: str) -> str | None:
    try:
        return read_json(output / "run.json")["phases"].get(phase, {}).get("state")
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def lines(file: Path) -> int:
    return len(file.read_text().splitlines()) if file.exists() else 0


#: The moments: in the middle of a phase, between two epochs, while something is being written.
MOMENTS: dict[str, Callable[[Path], bool]] = {
    "baseline": lambda run: phase_state(run, "baseline") == "running",
    "importance": lambda run: phase_state(run, "importance") == "running",
    "first epoch measured": lambda run: lines(run / "metrics.jsonl") == 1,
    "second checkpoint saved": lambda run: len(list((run / "checkpoints").glob("checkpoint-*"))) == 2,
    "evaluation": lambda run: phase_state(run, "evaluation") == "running",
    "export": lambda run: (run / "adapter.partial").exists() or phase_state(run, "export") == "running",
}


def test_six_kills_and_the_same_weights(shared: Path, tmp_path: Path) -> None:
    recipe = write_recipe(shared, tmp_path)
    whole = start(recipe, tmp_path / "whole")
    assert whole.wait(timeout=600) == 0, whole.stderr.read()
    output = tmp_path / "killed"
    for number, (name, reached) in enumerate(MOMENTS.items()):
        process = start(recipe, output, *(["--resume"] if number else []))
        deadline = time.monotonic() + 600
        while not reached(output) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        assert process.poll() is None, f"the run ended before it could be killed at: {name}"
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (output / "report.html").exists()
    last = start(recipe, output, "--resume")
    printed = last.communicate(timeout=600)[1]
    assert last.returncode == 0, printed
    for phase in ("baseline", "importance", "adapter", "training", "evaluation"):
        assert f"{phase}: done before" in printed
    for file in ("adapter/adapter_model.safetensors", "importance.safetensors", "steps.jsonl"):
        assert (output / file).read_bytes() == (tmp_path / "whole" / file).read_bytes(), file
    ours, theirs = (read_json(tmp_path / name / "run.json") for name in ("killed", "whole"))
    assert ours["metrics"] == theirs["metrics"]
    assert ours["training"] == theirs["training"]
    assert not list(output.rglob("*.partial")) or all(path.is_dir() for path in output.rglob("*.partial"))
    attempts = {name: phase["attempts"] for name, phase in ours["phases"].items()}
    assert attempts == {"baseline": 2, "importance": 2, "adapter": 1, "training": 3, "evaluation": 2, "export": 2,
                        "report": 1}  # fmt: skip
