"""How runs end: nothing forgotten, nothing to forget, and the same verdict wherever it is shown."""

from __future__ import annotations

import html
import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

import expunge
from expunge.cli import main
from expunge.errors import InputError
from expunge.objectives import Objective, Term, forget_losses, retain_losses
from expunge.report.evidence import Forgetting
from expunge.run.export import export_run
from expunge.storage import read_json, read_json_lines

QUICK = {"initialization": "default", "rank": 2, "alpha": 16}


@pytest.fixture
def plain(recipe: dict) -> dict:
    return {**recipe, "adapter": QUICK, "evaluation": {"max_new_tokens": 20}}


@pytest.fixture
def strangers(tmp_path: Path) -> dict[str, str]:
    """Files of what the model never saw: to forget, and a holdout of the same kind."""
    files = {}
    for side, numbers in (("forget", range(100, 112)), ("holdout", range(200, 212))):
        rows = [
            {"question": f"What is {n}?", "answer": f"A mirror made of {n} maple clouds."} for n in numbers
        ]
        files[side] = str(tmp_path / f"{side}.jsonl")
        Path(files[side]).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return files


def command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, recipe: dict, *options: str) -> int:
    """The exit code of `expunge run`."""
    file = tmp_path / "asked.yaml"
    file.write_text(json.dumps(recipe))
    monkeypatch.setattr("sys.argv", ["expunge", "run", str(file), *options])
    try:
        main()
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


def assert_shown_alike(run: expunge.Run, printed: str) -> None:
    verdict = run.verdict
    assert run.state["verdict"] == verdict.to_json()
    lines = printed.splitlines()
    assert lines[-1] == f"Verdict: {verdict.line}"
    report = html.unescape(run.report.read_text()).replace("<code>", "").replace("</code>", "")
    for page in (report, run.card.read_text()):
        assert verdict.headline in page
        # In the report the first tip begins a sentence.
        assert all(tip in page or tip[0].upper() + tip[1:] in page for tip in verdict.next)


def test_a_rate_that_does_nothing_forgets_nothing(
    plain: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain["training"]["learning_rate"] = 1e-12
    assert command(monkeypatch, tmp_path, plain) == 0
    run = expunge.Run(Path(plain["output"]))
    printed = capsys.readouterr()
    assert printed.out == f"{run.report}\n"
    assert_shown_alike(run, printed.err)
    assert (run.state["state"], run.state["ended"]) == ("done", "nothing was forgotten")
    assert run.state["verdict"]["headline"] == "Nothing was forgotten; no model is handed over."
    assert run.state["verdict"]["next"] == [
        "train for longer (more training.epochs), or in larger steps (a higher training.learning_rate)"
    ]
    assert [row["futile"] for row in read_json_lines(run.path / "metrics.jsonl")] == ["unchanged"] * 2
    assert run.state["training"]["best_epoch"] is None
    assert not {"evaluation", "export"} & run.state["phases"].keys()
    assert not run.adapter.exists()
    assert math.isnan(run.score)
    assert run.utility is None
    assert run.original_utility == run.metrics["before"]["retain_probability"]["value"]
    assert "PeftModel" not in run.card.read_text()
    with pytest.raises(InputError, match="handed over no model: nothing was forgotten"):
        run.model()
    with pytest.raises(InputError, match="handed over no model: nothing was forgotten"):
        export_run(run.path, "adapter", tmp_path / "adapter")
    assert command(monkeypatch, tmp_path, plain, "--resume", "--strict") == 3
    assert run.state["phases"]["training"]["attempts"] == 1


def test_an_epoch_that_recalls_more_is_no_candidate(
    plain: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss that is to make it forget makes it learn: its weights move, and no epoch is handed over."""
    teaching = replace(retain_losses["nll"], settings=forget_losses["ihl"].settings)
    monkeypatch.setattr(Objective, "named", lambda *given, **more: Objective([Term(teaching)]))
    run = expunge.unlearn(plain, ["evaluation.generate=never", "training.learning_rate=1e-3"])
    rows = read_json_lines(run.path / "metrics.jsonl")
    assert [row["futile"] for row in rows] == ["no better"] * 2
    assert rows[-1]["forget_score"] < 1 - run.metrics["before"]["forget_probability"]["value"]
    assert run.forgot_nothing
    assert "After no epoch" in run.verdict.findings[0].text


def test_nothing_to_forget_ends_before_anything_is_trained(
    plain: dict,
    strangers: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    plain["data"].update(strangers)
    assert command(monkeypatch, tmp_path, plain) == 0
    run = expunge.Run(Path(plain["output"]))
    assert_shown_alike(run, capsys.readouterr().err)
    assert list(run.state["phases"]) == ["baseline", "report"]
    assert run.state["ended"] == run.state["verdict"]["forgetting"] == "nothing to forget"
    assert "no more of the forget set than of the holdout" in run.verdict.findings[0].text
    assert not (run.path / "checkpoints").exists()
    assert math.isnan(run.score)
    assert command(monkeypatch, tmp_path, plain, "--resume", "--strict") == 3
    trained = expunge.unlearn(
        plain, ["stopping.nothing_to_forget=train", "evaluation.generate=never"], output=tmp_path / "trained"
    )
    assert "training" in trained.state["phases"]
    del plain["data"]["holdout"]
    unsure = expunge.unlearn(plain, ["evaluation.generate=never"], output=tmp_path / "unsure")
    assert "training" in unsure.state["phases"]


def test_who_answers_otherwise_is_judged_by_the_answers(plain: dict, tmp_path: Path) -> None:
    (tmp_path / "refusals.txt").write_text("I cannot say.\n")
    changes = [f"objective.substitutes={tmp_path / 'refusals.txt'}", "objective.forget=idk", "training.epochs=12",
               "training.learning_rate=0.05", "objective.retain=none", "stopping.utility_floor=0",
               "evaluation.every=4"]  # fmt: skip
    run = expunge.unlearn(plain, changes)
    training, after, before = (
        run.state["training"], run.metrics["after"], run.metrics["before"]
    )  # fmt: skip
    assert training["aims"] == "answers"
    chosen = next(
        row for row in read_json_lines(run.path / "metrics.jsonl") if row["epoch"] == training["best_epoch"]
    )
    assert run.score == chosen["forget_score"] == 1 - after["forget_rouge"]["value"]
    assert after["forget_rouge"]["value"] < before["forget_rouge"]["value"] / 2
    assert run.verdict.forgetting is Forgetting.REDUCED
    assert "ROUGE" in run.verdict.findings[0].text
    assert run.verdict.findings[1].title in ("Still probable", "Improbable as well")


def test_a_request_that_forgot_nothing_leaves_the_model_as_it_was(
    plain: dict, strangers: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of two requests the second has nothing to forget; then none of both."""
    forget = plain["data"]["forget"]
    plain["data"] = {
        **plain["data"],
        "forget": [forget, strangers["forget"]],
        "holdout": strangers["holdout"],
    }
    run = expunge.unlearn(plain, ["evaluation.generate=never"])
    assert isinstance(run.verdict.forgetting, list)
    state = read_json(run.path / "continual.json")
    assert [request["ended"] for request in state["requests"]] == [None, "nothing to forget"]
    assert state["requests"][1]["adapter"] is None
    assert state["requests"][1]["metrics"]["after"] == state["requests"][1]["metrics"]["before"]
    assert state["adapter"]["rank"] == 2
    assert state["verdict"] == run.verdict.to_json()
    assert state["verdict"]["forgetting"][1] == "nothing to forget"
    first = state["requests"][0]
    again = state["requests"][1]["forget_sets"]["1"]["forget_probability"]["value"]
    assert again == pytest.approx(first["metrics"]["after"]["forget_probability"]["value"], rel=1e-4)
    assert not run.forgot_nothing

    none = expunge.unlearn(
        plain, ["evaluation.generate=never", "training.learning_rate=1e-12"], output=tmp_path / "none"
    )
    assert none.forgot_nothing
    assert none.state["adapter"] is None
    assert not none.adapter.exists()
    with pytest.raises(InputError, match="no request forgot anything"):
        none.model()
    with pytest.raises(InputError, match="no request forgot anything"):
        export_run(none.path, "adapter", tmp_path / "adapter")
    assert "no model is handed over" in none.requests[0].verdict.headline
