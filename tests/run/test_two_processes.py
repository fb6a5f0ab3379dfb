"""Two processes share the work and take the same steps as one: invariance through the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from expunge.storage import read_json, read_json_lines


def run(folder: Path, recipe: dict, name: str, *launcher: str) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    command = [sys.executable, *launcher, "-m", "expunge", "run", str(file), "--output", str(folder / name)]
    finished = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.strip() == str(folder / name / "report.html")  # said once, not by each process
    return folder / name


@pytest.mark.slow
def test_one_process_and_two_give_the_same_steps(recipe: dict, tmp_path: Path) -> None:
    """Importance is summed over both shards, and token losses are divided by the tokens of both."""
    recipe["objective"] = {"forget": "npo", "retain": "nll"}
    recipe["importance"] = {"batch_size": 2}
    one = run(tmp_path, recipe, "one")
    two = run(tmp_path, recipe, "two", "-m", "torch.distributed.run", "--nproc_per_node", "2")
    for file, absolute in (("importance.safetensors", 1e-4), ("adapter/adapter_model.safetensors", 1e-5)):
        ours, theirs = load_file(one / file), load_file(two / file)
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=absolute)
    same_steps(one, two)


@pytest.mark.slow
def test_no_process_waits_for_blocks_without_a_gradient(recipe: dict, tmp_path: Path) -> None:
    """rmu looks at the first block's hidden states, so nothing after it is trained."""
    recipe["objective"] = {"forget": "rmu", "retain": "rmu", "layer": 0}
    recipe["adapter"]["initialization"] = "pissa"
    one = run(tmp_path, recipe, "one")
    same_steps(one, run(tmp_path, recipe, "two", "-m", "torch.distributed.run", "--nproc_per_node", "2"))


def same_steps(one: Path, two: Path) -> None:
    rows, others = (read_json_lines(folder / "steps.jsonl") for folder in (one, two))
    for row, other in zip(rows, others, strict=True):
        for key in ("step", "forget_loss", "retain_loss", "learning_rate", "grad_norm"):
            assert row[key] == pytest.approx(other[key], rel=1e-4), key
    assert read_json(two / "run.json")["state"] == "done"


@pytest.mark.slow
def test_one_process_and_two_measure_the_same(
    random_model_folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    """Teacher-forced passes, generations and extraction are shared batch by batch, so their sums are the same too."""
    tdec = tmp_path / "sequences.csv"
    tdec.write_text("text\n" + "the town by the sea " * 6 + "\n" + "a town on a river " * 6 + "\n")
    logs, tokens = {}, {}
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as torchrun sets it: sums in the same order
    for name, launcher in (("one", ()), ("two", ("-m", "torch.distributed.run", "--nproc_per_node", "2"))):
        output = tmp_path / name
        output.mkdir()
        script = Path(__file__).with_name("measure_in_small_batches.py")
        arguments = [str(random_model_folder), str(data_folder / "forget.jsonl"), str(tdec), str(output)]
        command = [sys.executable, *launcher, str(script), *arguments]
        finished = subprocess.run(
            command, capture_output=True, text=True, timeout=600, check=False, env=one_thread
        )
        assert finished.returncode == 0, finished.stderr
        for benchmark in ("memorization", "tdec"):
            logs[name, benchmark] = read_json(output / f"{benchmark}.json")
            counts = [int(file.read_text()) for file in sorted(output.glob(f"{benchmark}-*.txt"))]
            tokens[name, benchmark] = counts
    for benchmark in ("memorization", "tdec"):
        assert logs["one", benchmark] == logs["two", benchmark]
        (alone,) = tokens["one", benchmark]
        first, second = tokens["two", benchmark]
        assert first + second == alone  # nothing twice, nothing left out
        assert min(first, second) > alone / 8
