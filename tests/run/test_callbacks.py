"""Callbacks of the caller's own: they see what `metrics.jsonl` says, and may end the training."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import TrainerCallback

import expunge
from expunge.storage import read_json_lines
from expunge.training import callback


class Watch(TrainerCallback):
    """Keeps what it is told; ends the training after `last` evaluations."""

    def __init__(self, last: int | None = None):
        self.seen: list[dict[str, Any]] = []
        self.steps = 0
        self.last = last

    def on_step_end(self, *arguments: Any, **kwargs: Any) -> None:
        self.steps += 1

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any = None, **kwargs: Any) -> None:
        self.seen.append({"step": state.global_step, **metrics})
        assert kwargs["model"] is not None  # as the Trainer tells it
        control.should_training_stop |= len(self.seen) == self.last


@pytest.fixture
def plain(recipe: dict) -> dict:
    return {
        **recipe,
        "adapter": {"initialization": "default", "rank": 2, "alpha": 16},
        "evaluation": {"generate": "never"},
    }


def figures(row: dict[str, Any]) -> dict[str, Any]:
    judged = {name: row[name] for name in ("step", "forget_score", "utility", "qualifies")}
    return judged | {name: metric["value"] for name, metric in row["metrics"].items()}


def test_a_callback_sees_the_figures_of_every_epoch(plain: dict) -> None:
    watch = Watch()
    run = expunge.unlearn(plain, callbacks=[watch])
    rows = read_json_lines(run.path / "metrics.jsonl")
    assert watch.seen == [figures(row) for row in rows]
    assert [seen["step"] for seen in watch.seen] == [2, 4]
    assert watch.steps == 4
    assert {"forget_probability", "retain_probability"} <= watch.seen[0].keys()
    assert run.state["training"]["stopped"] is None


def test_a_callback_ends_the_training_after_its_epoch(plain: dict) -> None:
    watch, other = Watch(last=1), Watch()
    run = expunge.unlearn(plain, ["training.epochs=3"], callbacks=[watch, other])
    assert (len(watch.seen), len(other.seen)) == (1, 1)
    training = run.state["training"]
    assert (training["epochs"], training["best_epoch"], training["steps"]) == (1, 1, 2)
    assert training["stopped"] == "The callback Watch ended the training after epoch 1."
    assert read_json_lines(run.path / "metrics.jsonl")[0]["stopped"] == training["stopped"]
    assert run.state["state"] == "done"
    assert run.score == watch.seen[0]["forget_score"]
    one = expunge.unlearn(plain, ["training.epochs=3"], output=f"{run.path}-whole")
    first, pruned = (read_json_lines(each.path / "metrics.jsonl")[0]["metrics"] for each in (one, run))
    assert first == pruned
    assert run.metrics["after"] == pruned
    assert training["stopped"] in run.report.read_text()
    again = Watch()
    assert expunge.unlearn(plain, ["training.epochs=3"], resume=True, callbacks=[again]).score == run.score
    assert again.seen == []  # it was over


def test_every_requests_training_has_the_callbacks(plain: dict, tmp_path: Path) -> None:
    rows = [{"question": f"Where is number {n}?", "answer": f"In house {n} of the street."} for n in range(4)]
    (tmp_path / "second.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    plain["data"] = {**plain["data"], "forget": [plain["data"]["forget"], str(tmp_path / "second.jsonl")]}
    watch = Watch()
    run = expunge.unlearn(plain, ["training.epochs=1"], callbacks=[watch])
    assert watch.seen == [
        figures(row) for each in run.requests for row in read_json_lines(each.path / "metrics.jsonl")
    ]
    assert len(watch.seen) == 2


@pytest.mark.parametrize(("others", "ended"), [([False], False), ([True], True)])
def test_where_another_process_ends_the_training_this_one_does(
    others: list[bool], ended: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would wait for the other for ever."""
    monkeypatch.setattr(callback, "processes", lambda: SimpleNamespace(num_processes=2))
    monkeypatch.setattr(callback, "gather_object", lambda mine: [*mine, *others])
    watch = Watch()
    told: Any = callback.EpochCallback(lambda epoch: None, lambda *rows: None, 1.0, 0.5, 3, listeners=[watch])
    state, control = SimpleNamespace(global_step=4), SimpleNamespace(should_training_stop=False)
    told._tell(2, {"forget_score": 0.5}, None, state, control, {"model": "a model"})
    assert watch.seen == [{"step": 4, "forget_score": 0.5}]
    assert control.should_training_stop is ended
    assert told.stopped == ("The callback Watch ended the training after epoch 2." if ended else None)
