"""`training.precision: auto` on a CPU: the machine is asked once, and a resumed run keeps its answer."""

from __future__ import annotations

from pathlib import Path

import pytest

import expunge
from expunge.folder.run import RunFolder
from expunge.models import half_precision
from expunge.recipe import load_recipe
from expunge.run.job import Job
from expunge.storage import read_json_lines

CHANGES = ["training.epochs=1", "evaluation.generate=never", "adapter.initialization=default"]


def losses(run: expunge.Run) -> list[float]:
    return [row["forget_loss"] for row in read_json_lines(run.path / "steps.jsonl")]


def before(run: expunge.Run) -> float:
    return run.state["metrics"]["before"]["forget_probability"]["value"]


def test_the_answer_is_recorded_and_kept(
    recipe: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = expunge.unlearn(recipe, CHANGES, output=tmp_path / "small")
    assert "precision" not in small.state  # a small model is not asked about

    monkeypatch.setattr(half_precision, "LEAST_PARAMETERS", 0)
    monkeypatch.setattr("expunge.run.job.bf16_speedup", lambda width: 1.6)
    faster = expunge.unlearn(recipe, CHANGES, output=tmp_path / "faster")
    assert faster.state["precision"] == {"chosen": "bf16", "bf16_speedup": 1.6}
    given = expunge.unlearn(recipe, [*CHANGES, "training.precision=bf16"], output=tmp_path / "given")
    assert losses(faster) == losses(given) != losses(small)
    assert before(faster) == before(given) != before(small)  # evaluations as well
    assert before(faster) == pytest.approx(before(small), rel=0.01)
    assert losses(faster) == pytest.approx(losses(small), rel=0.05)

    monkeypatch.setattr("expunge.run.job.bf16_speedup", lambda width: 0.7)
    slower = expunge.unlearn(recipe, CHANGES, output=tmp_path / "slower")
    assert slower.state["precision"]["chosen"] == "fp32"
    assert losses(slower) == losses(small)
    assert before(slower) == before(small)
    assert RunFolder(faster.path).precision == RunFolder(given.path).precision == "bf16"
    resumed = Job(load_recipe(recipe, CHANGES), faster.path)
    assert resumed.training.precision == "bf16"  # as it was found when the run began
    assert RunFolder(faster.path).state.precision.bf16_speedup == 1.6
