"""Several processes share the work and take the same steps as one: invariance through the real command line."""

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
from small_recipe import small_recipe

#: What `accelerate launch --use_fsdp --fsdp_version 2` sets.
FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


def processes(number: int) -> list[str]:
    return ["-m", "torch.distributed.run", "--nproc_per_node", str(number)]


def run(folder: Path, recipe: dict, name: str, *launcher: str, **environment: str) -> Path:
    file = folder / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    command = [sys.executable, *launcher, "-m", "expunge", "run", str(file), "--output", str(folder / name)]
    finished = subprocess.run(
        command, capture_output=True, text=True, timeout=600, check=False, env={**os.environ, **environment}
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines()[0] == str(folder / name / "report.html")  # by the first process alone
    return folder / name


@pytest.fixture(scope="module")
def alone(
    model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict, Path]:
    """A recipe, and its run in one process."""
    recipe = small_recipe(model_folder, data_folder)
    recipe["objective"] = {"forget": "npo", "retain": "nll"}
    recipe["importance"] = {"batch_size": 2}
    recipe["training"]["micro_batch_size"] = 1  # two processes accumulate gradients
    return recipe, run(tmp_path_factory.mktemp("alone"), recipe, "one")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "environment"), [(2, {}), (4, {}), (2, FSDP2)], ids=["two", "four", "two that share the base"]
)
def test_several_processes_do_what_one_does(
    alone: tuple[dict, Path], tmp_path: Path, number: int, environment: dict[str, str]
) -> None:
    """Importance is summed over all shares, token losses are divided by the tokens of all, and every metric is of all
    samples. By FSDP2 each process holds a part of the base."""
    recipe, one = alone
    several = run(tmp_path, recipe, "several", *processes(number), **environment)
    for file, absolute in (("importance.safetensors", 1e-4), ("adapter/adapter_model.safetensors", 1e-5)):
        ours, theirs = load_file(one / file), load_file(several / file)
        assert ours.keys() == theirs.keys()
        for name in ours:
            torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=absolute)
    same_steps(one, several)
    same_metrics(one, several)


@pytest.mark.slow
def test_several_processes_find_the_rate_that_one_finds(recipe: dict, tmp_path: Path) -> None:
    """What came of a trial is read by the first, which throws checkpoints away; all go on with the same rate."""
    recipe["training"]["learning_rate"] = "auto"
    recipe["tuning"] = {"trials": 3}
    one, two = run(tmp_path, recipe, "one"), run(tmp_path, recipe, "two", *processes(2))
    ours, theirs = (read_json(folder / "run.json")["tuning"] for folder in (one, two))
    assert len(ours["trials"]) == 3
    assert ours["chosen"] == theirs["chosen"]
    for trial, other in zip(ours["trials"], theirs["trials"], strict=True):
        for key, value in trial.items():
            close = pytest.approx(value, rel=1e-4) if isinstance(value, float) else value
            assert other[key] == close, key
    same_steps(one, two)


@pytest.mark.slow
def test_no_process_waits_for_blocks_without_a_gradient(recipe: dict, tmp_path: Path) -> None:
    """rmu looks at the first block's hidden states, so nothing after it is trained."""
    recipe["objective"] = {"forget": "rmu", "retain": "rmu", "layer": 0}
    recipe["adapter"]["initialization"] = "pissa"
    one = run(tmp_path, recipe, "one")
    same_steps(one, run(tmp_path, recipe, "two", *processes(2)))
    recipe["training"]["precision"] = "bf16"
    rounded = run(tmp_path, recipe, "bf16", *processes(2))
    rows, others = (read_json_lines(folder / "steps.jsonl") for folder in (one, rounded))
    assert [row["forget_loss"] for row in rows] != [row["forget_loss"] for row in others]
    assert others[0]["forget_loss"] == pytest.approx(rows[0]["forget_loss"], rel=0.05)


def same_steps(one: Path, two: Path) -> None:
    rows, others = (read_json_lines(folder / "steps.jsonl") for folder in (one, two))
    for row, other in zip(rows, others, strict=True):
        for key in ("step", "forget_loss", "retain_loss", "learning_rate", "grad_norm"):
            assert row[key] == pytest.approx(other[key], rel=1e-4), key
    assert read_json(two / "run.json")["state"] == "done"


def same_metrics(one: Path, several: Path) -> None:
    ours, theirs = (read_json(folder / "run.json")["metrics"] for folder in (one, several))
    assert ours.keys() == theirs.keys()
    assert ours["before"]
    assert ours["after"]
    for stage in ("before", "after"):
        assert ours[stage].keys() == theirs[stage].keys()
        for name, metric in ours[stage].items():
            assert metric["value"] == pytest.approx(theirs[stage][name]["value"], rel=1e-4, abs=1e-6), name


@pytest.mark.slow
def test_one_process_and_two_measure_the_same(
    random_model_folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    """Teacher-forced passes, generations and extraction are shared batch by batch, so their sums are the same too."""
    tdec = tmp_path / "sequences.csv"
    tdec.write_text("text\n" + "the town by the sea " * 6 + "\n" + "a town on a river " * 6 + "\n")
    logs, tokens = {}, {}
    one_thread = {**os.environ, "OMP_NUM_THREADS": "1"}  # as torchrun sets it: sums in the same order
    for name, launcher in (("one", ()), ("two", processes(2))):
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
