"""What trackers are told: the names of docs/trackers.md, with the figures of the run folder."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback
from transformers.integrations import integration_utils

import expunge

PAGE = Path(__file__).parents[2] / "docs" / "trackers.md"


class Recorder(TrainerCallback):
    """A tracker that keeps what it is told, under the names that most give it."""

    told: list[tuple[int, dict[str, Any]]]

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any], **others: Any) -> None:
        type(self).told.append((state.global_step, integration_utils.rewrite_logs(logs)))


def rows(run: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / name).read_text().splitlines()]


def test_every_epoch_is_reported_under_names_that_stay(recipe: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Recorder, "told", [], raising=False)
    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "recorder", Recorder)
    run = expunge.unlearn(recipe, ["training.report_to=[recorder]"])
    epochs = {step: figures for step, figures in Recorder.told if "eval/forget_score" in figures}
    for row in rows(run.path, "metrics.jsonl"):
        metrics = {f"eval/{name}": metric["value"] for name, metric in row["metrics"].items()}
        assert epochs.pop(row["step"]) == {
            "eval/forget_score": row["forget_score"],
            "eval/utility": row["utility"],
            "eval/qualifies": float(row["qualifies"]),
            **metrics,
        }
    assert epochs == {}
    steps = {step: figures for step, figures in Recorder.told if "train/forget_loss" in figures}
    for row in rows(run.path, "steps.jsonl"):
        assert steps[row["step"]]["train/forget_loss"] == row["forget_loss"]
    documented = set(re.findall(r"`((?:train|eval)/[a-z_]+)`", PAGE.read_text()))
    assert documented <= {name for _, figures in Recorder.told for name in figures}


def test_tensorboard(recipe: dict) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = expunge.unlearn(recipe, ["training.report_to=[tensorboard]"])
    (folder,) = (run.path / "checkpoints" / "runs").iterdir()
    events = EventAccumulator(str(folder)).Reload()
    for name, key in (("eval/forget_score", "forget_score"), ("eval/utility", "utility")):
        shown = [(event.step, event.value) for event in events.Scalars(name)]
        assert shown == [
            (row["step"], pytest.approx(row[key], rel=1e-6)) for row in rows(run.path, "metrics.jsonl")
        ]
    assert "train/forget_loss" in events.Tags()["scalars"]
    assert not any(b"SECRET" in file.read_bytes() for file in folder.iterdir())


def test_trackio(recipe: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trackio = pytest.importorskip("trackio", reason="trackio is not installed")
    monkeypatch.setenv("TRACKIO_PROJECT", "expunge")
    told: list[dict[str, Any]] = []
    monkeypatch.setattr(trackio, "init", lambda *arguments, **options: type("Run", (), {"config": {}})())
    monkeypatch.setattr(trackio, "log", told.append)
    monkeypatch.setattr(trackio, "finish", lambda: None)
    run = expunge.unlearn(recipe, ["training.report_to=[trackio]"])
    scores = [figures["eval/forget_score"] for figures in told if "eval/forget_score" in figures]
    assert scores == [row["forget_score"] for row in rows(run.path, "metrics.jsonl")]
