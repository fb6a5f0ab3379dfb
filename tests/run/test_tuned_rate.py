"""`learning_rate: auto`: the trials, what is taken over from the best of them, and a kill in between."""

from __future__ import annotations

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

import expunge
import expunge.run.tuning
from expunge.benchmarks.benchmark import RESOLUTION
from expunge.benchmarks.memorization.benchmark import MemorizationBenchmark
from expunge.evaluation.metric import Metric
from expunge.folder.state import Trial, TuningFacts
from expunge.run.job import Job
from expunge.run.result import Run
from expunge.run.tuning import (
    _best,
    _may_be_chosen,
    _suffices,
    _tried,
    resolution_left,
)
from expunge.storage import read_json, read_json_lines
from expunge.training.tuning import next_rate

WEIGHTS = "adapter/adapter_model.safetensors"


pytestmark = [pytest.mark.slow, pytest.mark.shared]


@pytest.fixture
def auto(shared: Path, tmp_path: Path) -> dict:
    """Eight questions to forget of a model that knows them: trials of six steps."""
    for name, source, rows in (("forget", "forget01", 8), ("retain", "retain99", 20)):
        lines = (shared / "data" / "tofu" / f"{source}.json").read_text().splitlines()[:rows]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return {
        "model": {"path": str(shared / "models" / "tofu-tiny" / "full")},
        "data": {side: str(tmp_path / f"{side}.jsonl") for side in ("forget", "retain")},
        "adapter": {"initialization": "default", "rank": 8},
        "training": {"epochs": 3, "batch_size": 4, "micro_batch_size": 4, "warmup": 0},
        "tuning": {"trials": 3},
        "evaluation": {"max_new_tokens": 10},
        "attacks": {"budget": "none"},
        "output": str(tmp_path / "run"),
    }


def trials(run: Path) -> list[dict[str, Any]]:
    return read_json(run / "run.json")["tuning"]["trials"]


def test_the_best_trial_is_the_run_at_its_rate(auto: dict, tmp_path: Path) -> None:
    found = expunge.unlearn(auto)
    tuning = found.state["tuning"]
    assert len(tuning["trials"]) == 3
    assert tuning["questions"] == 8  # all: fewer than 40
    assert tuning["trials"][0]["learning_rate"] == 2e-3  # the default's start: no factor
    chosen = tuning["trials"][tuning["chosen"] - 1]
    rate = chosen["learning_rate"]
    given = expunge.unlearn(auto, [f"training.learning_rate={rate}"], output=tmp_path / "given")
    assert "tuning" not in given.state["phases"]
    for file in (WEIGHTS, "steps.jsonl"):
        assert (found.path / file).read_bytes() == (given.path / file).read_bytes(), file
    assert found.state["metrics"] == given.state["metrics"]
    training = found.state["training"]
    settings = training.pop("settings")
    assert (settings["learning_rate"], settings["epochs"], settings["batch_size"]) == (rate, 3, 4)
    assert training == given.state["training"]  # whose recipe leaves nothing open
    ours, theirs = (read_json_lines(run.path / "metrics.jsonl") for run in (found, given))
    for one, other in zip(ours, theirs, strict=True):
        for key in ("epoch", "step", "forget_score", "utility", "qualifies", "learning_rate", "stopped"):
            assert one[key] == other[key], key
    assert not any(
        (found.path / "trials").glob("*/checkpoints")
    )  # of others than the chosen one, which has moved
    qualified = [trial for trial in tuning["trials"] if trial["qualified"]]
    enough = max(trial["forget_score"] for trial in qualified) - RESOLUTION
    equals = [trial for trial in qualified if trial["forget_score"] >= enough]
    assert chosen in equals
    assert chosen["utility"] == max(trial["utility"] for trial in equals)
    assert (chosen["forget_score"], chosen["utility"]) == (found.score, found.utility)


@pytest.mark.parametrize(
    ("chosen", "left"), [(1, 0.02), (2, 0.005), (None, 0.02)], ids=["the best", "a worse one", "given"]
)
def test_trial_and_epoch_together_are_no_worse_than_what_can_be_told_apart(
    chosen: int | None, left: float
) -> None:
    tried = [
        Trial(learning_rate=rate, state="kept", left=False, stopped=None, epochs=3, forget_score=score - 0.01,
              best_score=score, qualified=qualified)
        for rate, score, qualified in ((1e-3, 0.9, True), (2e-3, 0.885, True), (4e-3, 0.99, False))
    ]  # fmt: skip
    facts = TuningFacts(questions=8, trials=tried, chosen=chosen) if chosen else None
    job: Any = SimpleNamespace(resolution=0.02, folder=SimpleNamespace(state=SimpleNamespace(tuning=facts)))
    assert resolution_left(job) == pytest.approx(left)


def test_by_a_holdout_epochs_and_trials_are_held_against_what_the_model_made_of_it_before(
    auto: dict, shared: Path, tmp_path: Path
) -> None:
    lines = (shared / "data" / "tofu" / "holdout01.json").read_text().splitlines()[:10]
    (tmp_path / "holdout.jsonl").write_text("\n".join(lines) + "\n")
    auto["data"]["holdout"] = str(tmp_path / "holdout.jsonl")
    found = expunge.unlearn(auto, ["tuning.trials=2", "evaluation.generate=never"])
    metrics = found.metrics
    level = metrics["before"]["holdout_probability"]["value"]

    def distances(row: dict[str, Any]) -> tuple[float, float]:
        """Too much forgotten, and too little."""
        left, now = (row[f"{name}_probability"]["value"] for name in ("forget", "holdout"))
        return level - left, left - now

    def apart(row: dict[str, Any]) -> float:
        """How clearly the two are told apart, and what is left of the way to the holdout's interval."""
        start, seen = (side["forget_probability"]["value"] for side in (metrics["before"], row))
        held = (metrics["before"]["holdout_probability"], row["holdout_probability"])
        limit = max(held, key=lambda metric: metric["value"])["high"]
        left = math.log(seen / limit) / math.log(start / limit) if seen > limit else 0.0
        assert row["forget_left"]["value"] == pytest.approx(min(left, 1.0))
        return told(row) + min(left, 1.0)

    def told(row: dict[str, Any]) -> float:
        return max(0.0, row["membership_inference_min_k"]["low"] - 0.5)

    assert metrics["after"]["holdout_probability"]["value"] != pytest.approx(level, rel=1e-3)
    assert metrics["after"]["forget_distance"]["value"] == pytest.approx(max(0, *distances(metrics["after"])))
    assert told(metrics["before"]) > 0
    for number, trial in enumerate(trials(found.path), start=1):
        rows = read_json_lines(found.path / "trials" / str(number) / "metrics.jsonl")
        sides = {row["epoch"]: distances(row["metrics"]) for row in rows}
        by_inference = {row["epoch"]: told(row["metrics"]) for row in rows}
        left = {row["epoch"]: max(0, *sides[row["epoch"]]) + apart(row["metrics"]) for row in rows}
        for row in rows:
            assert row["forget_score"] == pytest.approx(1 - left[row["epoch"]])
        nearest = min((row["epoch"] for row in rows if row["qualifies"]), key=left.__getitem__)
        (over, short), (last_over, last_short) = sides[nearest], sides[len(rows)]
        beyond = None if over > short and by_inference[nearest] else over > short
        if not beyond and nearest < len(rows):  # further epochs were no nearer: past it, or nobody knows
            beyond = True if last_over > max(last_short, RESOLUTION) else None
        assert trial["beyond"] is beyond
        assert trial["best_score"] == pytest.approx(1 - left[nearest])
        # What is past its aim, with the utility kept, is not trained further.
        past = [
            row["qualifies"] and over > max(short, RESOLUTION)
            for row, (over, short) in zip(rows, sides.values(), strict=True)
        ]
        assert not any(past[:-1])
        if past[-1] and len(rows) < 3:
            assert (trial["left"], trial["state"], trial["beyond"]) == (True, "kept", True)
            assert trial["stopped"] == "less of the forget set is left than of what was never seen"
        assert trial["best_score"] - RESOLUTION <= trial["forget_score"] <= trial["best_score"]


def test_killed_in_the_middle_of_a_trial(auto: dict, tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(auto))

    def start(output: Path, *options: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "expunge", "run", str(file), "--output", str(output), *options]
        return subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )  # fmt: skip

    def in_second_trial(output: Path) -> bool:
        lines = output / "trials" / "2" / "metrics.jsonl"
        return lines.exists() and len(lines.read_text().splitlines()) == 1

    killed = tmp_path / "killed"
    process = start(killed)
    deadline = time.monotonic() + 300
    while not in_second_trial(killed) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    assert process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert len(trials(killed)) == 1
    whole = Run(tmp_path / "whole")
    for output, options in ((whole.path, ()), (killed, ("--resume",))):
        assert start(output, *options).wait(timeout=300) == 0
    assert trials(killed) == trials(whole.path)
    assert (killed / WEIGHTS).read_bytes() == (whole.path / WEIGHTS).read_bytes()
    assert read_json(killed / "run.json")["phases"]["tuning"]["attempts"] == 2


def test_killed_while_checkpoints_are_thrown_away(
    auto: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then the trial is written down: read anew, by the checkpoints that are left, it would be another."""

    class Killed(Exception):
        pass

    def half_of(folder: Path, ignore_errors: bool) -> None:
        shutil.rmtree(min(folder.glob("checkpoint-*")))
        raise Killed

    killed, settings = tmp_path / "killed", ["evaluation.generate=never"]
    with monkeypatch.context() as patch:
        patch.setattr(expunge.run.tuning, "shutil", SimpleNamespace(rmtree=half_of))
        with pytest.raises(Killed):
            expunge.unlearn(auto, settings, output=killed)
    assert 1 < len(trials(killed)) <= 3
    resumed = expunge.unlearn(auto, settings, output=killed, resume=True)
    whole = expunge.unlearn(auto, settings, output=tmp_path / "whole")
    assert resumed.state["tuning"] == whole.state["tuning"]


def test_before_training_there_are_no_answers_to_compare_where_epochs_have_none() -> None:
    """The original's 1 − ROUGE is no start for epochs that are scored by probabilities."""
    metrics = {name: Metric(0.9, 8) for name in ("forget_probability", "forget_rouge", "retain_rouge")}
    folder = SimpleNamespace(metrics=lambda stage: {"before": metrics}[stage])

    def of_start(generates: bool) -> set[str]:
        job = SimpleNamespace(folder=folder, generates_between_epochs=generates)
        return set(Job.metrics_of_start.fget(job))  # type: ignore[attr-defined]

    assert of_start(True) == set(metrics)
    assert of_start(False) == {"forget_probability"}


def test_many_questions_are_halved(auto: dict, tmp_path: Path) -> None:
    """Trials are compared by every other question: of seed 42 the first, third, …"""
    rows = [{"question": f"What is {n}?", "answer": f"It is SECRET{n}."} for n in range(40)]
    forget = tmp_path / "forget.jsonl"
    forget.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = expunge.unlearn(
        auto, [f"data.forget={forget}", "training.epochs=1", "training.batch_size=20", "training.micro_batch_size=20",
               "tuning.trials=1", "evaluation.generate=never"]
    )  # fmt: skip
    tuning = run.state["tuning"]
    assert tuning["questions"] == 20
    log = read_json(run.evaluation("epoch-1"))
    every_other = [
        math.exp(-row["answer"]["loss"] / row["answer"]["tokens"]) for row in log["sets"]["forget"][::2]
    ]
    assert tuning["trials"][0]["forget_score"] == pytest.approx(1 - sum(every_other) / 20, abs=1e-12)
    assert tuning["trials"][0]["forget_score"] != run.score


def test_without_a_utility_the_first_rate_is_used(auto: dict, capsys: pytest.CaptureFixture) -> None:
    del auto["data"]["retain"]
    run = expunge.unlearn(auto, ["objective.retain=none", "evaluation.generate=never"])
    assert [trial["learning_rate"] for trial in run.state["tuning"]["trials"]] == [2e-3]
    assert "no rate can be found" in capsys.readouterr().err


@pytest.mark.parametrize(("told_by", "value"), [("best_score", 0.0), ("near_enough", True)])
def test_the_search_ends_where_nothing_is_left_to_gain(
    auto: dict, monkeypatch: pytest.MonkeyPatch, told_by: str, value: float
) -> None:
    """If any score were the best there is, or as near as can be told, one trial would do; of any number, three are
    made (the first test)."""
    monkeypatch.setattr(MemorizationBenchmark, told_by, lambda *_: value)
    (trial,) = expunge.unlearn(auto, ["evaluation.generate=never"]).state["tuning"]["trials"]
    assert trial["qualified"]
    assert 0 < trial["forget_score"] < 1 - RESOLUTION
    assert trial["near_enough"] is (told_by == "near_enough")


@pytest.mark.parametrize(("left", "done"), [(True, 0.25), (False, 1.0)])
def test_the_search_knows_after_which_share_of_its_epochs_a_trial_was_left(left: bool, done: float) -> None:
    trial = Trial(learning_rate=2e-3, state="kept", left=left, stopped=None, epochs=2, beyond=True)
    assert _tried(trial, 8).done == done


def tried(*scored: tuple[float | None, float]) -> list[Trial]:
    return [
        Trial(
            learning_rate=2e-3, state="kept", left=False, stopped=None, epochs=2, forget_score=score, utility=utility,
            qualified=score is not None, best_score=score,
        )
        for score, utility in scored
    ]  # fmt: skip


def test_a_trial_that_may_be_chosen_later_is_kept() -> None:
    """As it came: 1 keeps most of 1 and 2, which cannot be told apart; with 3 the first is out, and 2 keeps most."""
    first = tried((0.97, 0.60), (0.985, 0.58))
    assert (_best(first, 0.02), _may_be_chosen(first, 0.02)) == (1, {1, 2})
    then = tried((0.97, 0.60), (0.985, 0.58), (0.995, 0.50))
    assert (_best(then, 0.02), _may_be_chosen(then, 0.02)) == (2, {2, 3})
    # 2 has forgotten no better than 1 and kept less; 3 has lost the utility
    assert _may_be_chosen(tried((0.97, 0.60), (0.96, 0.58), (None, 0.30)), 0.02) == {1}
    assert _may_be_chosen(tried((None, 0.2), (None, 0.3)), 0.02) == {2}


def test_a_trial_that_forgot_nothing_calls_for_larger_steps_and_is_never_preferred() -> None:
    futile = Trial(learning_rate=1e-3, state="kept", left=False, stopped=None, epochs=3, utility=0.6)
    lost = Trial(learning_rate=2e-3, state="lost", left=False, stopped=None, epochs=3, best_epoch=3, utility=0.5,
                 forget_score=0.97)  # fmt: skip
    first = _tried(futile, 3)
    assert (first.score, first.beyond) == (-math.inf, False)
    assert next_rate(1e-3, [first]) == 2e-3
    assert next_rate(1e-3, [first, _tried(lost, 3)]) == pytest.approx(1.41e-3)
    assert _tried(futile.model_copy(update={"state": "lost"}), 3).score is None
    for trials in ([futile, lost], [lost, futile]):
        assert trials[_best(trials, 0.02) - 1] is lost
        assert _may_be_chosen(trials, 0.02) == {trials.index(lost) + 1}


def test_the_search_ends_with_the_trial_that_is_handed_over() -> None:
    """2 is as near as can be told, and 1, which went too far, has the better score: then 1 is what counts."""
    past, short = tried((0.975, 0.60), (0.95, 0.58))
    short = short.model_copy(update={"near_enough": True})
    assert not _suffices([], 0.98, 0.02)
    assert not _suffices([past, short], 0.98, 0.02)
    assert _suffices([past.model_copy(update={"best_score": 0.965, "utility": 0.57}), short], 0.98, 0.02)
    assert _suffices(tried((0.985, 0.60)), 0.98, 0.02)
    assert not _suffices(tried((0.985, 0.60)), None, 0.02)  # thresholds, which it has not reached
    assert not _suffices([short], None, 0.02)
    assert not _suffices(tried((None, 0.2)), 0.98, 0.02)


def test_what_has_reached_the_thresholds_is_handed_over_and_ends_the_search() -> None:
    """A score that cannot be told from it, and more utility, are not what the recipe asks for."""
    short, reached = tried((0.885, 0.62), (0.902, 0.60))
    assert _best([short, reached], 0.02) == 1
    reached = reached.model_copy(update={"reached": True})
    assert (_best([short, reached], 0.02), _may_be_chosen([short, reached], 0.02)) == (2, {2})
    assert not _suffices([short], 0.98, 0.02)
    assert _suffices([short, reached], 0.98, 0.02)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_comes_the_best_trial_has_been_kept_all_along(seed: int) -> None:
    generator = random.Random(seed)
    trials: list[Trial] = []
    there: set[int] = set()
    for number in range(1, 13):
        score = None if generator.random() < 0.3 else generator.randrange(90, 100) / 100
        trials += tried((score, generator.randrange(50, 56) / 100))
        there = (there | {number}) & _may_be_chosen(trials, 0.03)
        assert _best(trials, 0.03) in there


def test_a_chosen_trial_without_checkpoints_is_trained_again_from_step_0(
    auto: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an earlier version, which may have thrown them away for another's."""
    monkeypatch.setattr("expunge.run.tuning._may_be_chosen", lambda trials, resolution: set())
    monkeypatch.setattr(
        "expunge.run.tuning.next_rate", lambda first, tried, resolution: 1e-3 * 2 ** len(tried)
    )
    real = expunge.run.tuning._record

    def forgetful(job: Any, trials: list[Trial], chosen: int | None = None) -> None:
        real(job, trials)
        job.folder.update(tuning={**job.folder.document["tuning"], "chosen": chosen})

    monkeypatch.setattr("expunge.run.tuning._record", forgetful)
    found = expunge.unlearn(auto, ["tuning.trials=2"])
    rate = found.state["tuning"]["trials"][found.state["tuning"]["chosen"] - 1]["learning_rate"]
    given = expunge.unlearn(auto, [f"training.learning_rate={rate}"], output=tmp_path / "given")
    for file in (WEIGHTS, "steps.jsonl"):
        assert (found.path / file).read_bytes() == (given.path / file).read_bytes(), file
