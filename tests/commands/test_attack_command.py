"""`expunge attack`: on a run, on a model, and what it refuses."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import expunge
from expunge.cli import main
from expunge.folder.run import RunFolder
from expunge.models.half_precision import pass_precision
from expunge.report.quantities import number
from expunge.run.attacked import _with_earlier
from expunge.storage import read_json
from small_recipe import small_recipe
from synthetic_attacks import attacks

Command = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def run(
    model_folder: Path, random_model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> expunge.Run:
    """A run with a reference and without attacks."""
    recipe = small_recipe(model_folder, data_folder)
    recipe["adapter"] = {"initialization": "default", "rank": 2, "alpha": 16}
    recipe["evaluation"] = {"generate": "never", "reference": str(random_model_folder)}
    return expunge.unlearn(recipe, output=tmp_path_factory.mktemp("attacked") / "run")


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["expunge", "attack", *map(str, arguments)])
        code = 0
        try:
            main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def test_the_verdict_report_and_card_of_a_run_take_it_in(run: expunge.Run, command: Command) -> None:
    assert run.state.get("attacks") is None
    assert "No attack is part of this report" in run.report.read_text()
    code, out, _ = command(run.path, "quantise", "remove")
    assert code == 0
    assert out.splitlines()[-1] == f"Verdict: {run.verdict.line}"
    assert run.state["verdict"] == run.verdict.to_json()
    facts = run.state["attacks"]
    assert set(facts["outcomes"]) == {"quantise", "remove"}
    assert {"merge", "compose", "membership"} <= set(facts["missing"])
    off = facts["outcomes"]["remove"]["variants"]["off"]["recoveries"]["probability"]
    assert off["attacked"] == pytest.approx(off["original"], rel=1e-4)
    page, card = run.report.read_text(), run.card.read_text()
    assert 'id="figure-attacks"' in page
    assert "quantise: int4" in page
    for text in (page, card, out, (run.path / "attacks" / "quantise.json").read_text()):
        assert "SECRET" not in text
    said = out.splitlines()[0]  # the log, the report and the card give one count
    assert re.fullmatch(
        r"2 of 1\d attacks were made on 6 questions or pieces of text; the verdict rests on 1 of them, .*",
        said,
    )
    assert said in page
    assert said in card
    assert f"Not made: {', '.join(facts['missing'][:-1])} and {facts['missing'][-1]} (not asked for)." in card
    # Another attack is added to these, which are not made again.
    code, out, err = command(run.path, "merge", "--json")
    assert code == 0
    assert set(json.loads(out)["outcomes"]) == {"quantise", "merge", "remove"}
    assert "int8" not in err
    # What counts as a leak is named where it is another than the default.
    code, out, _ = command(run.path, "sample", "--leak-threshold", "0.9", "--json")
    assert code == 0
    assert "leak@8, T = 1, recall ≥ 0.9" in json.loads(out)["outcomes"]["sample"]["variants"]


def test_a_run_is_attacked_in_what_it_was_measured_in(
    run: expunge.Run, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As its folder says, whatever this machine is faster in."""
    folder = shutil.copytree(run.path, tmp_path / "run")
    monkeypatch.setattr("expunge.models.half_precision.LEAST_PARAMETERS", 1)
    monkeypatch.setattr("expunge.models.half_precision.device", lambda: torch.device("cpu"))
    monkeypatch.setattr("expunge.models.half_precision.bf16_speedup", lambda width: 0.7)
    seen = []
    asked = expunge.run.attacked.run_attacks

    def run_attacks(target: Any, *more: Any) -> Any:
        seen.append(pass_precision(target.after()))
        return asked(target, *more)

    monkeypatch.setattr("expunge.run.attacked.run_attacks", run_attacks)
    for chosen in ("bf16", "fp32"):
        RunFolder(folder).update(precision={"chosen": chosen, "bf16_speedup": 2.0})
        assert command(folder, "remove")[0] == 0
    assert seen == ["bf16", "fp32"]


def test_further_attacks_leave_those_that_were_made(
    run: expunge.Run, command: Command, model_folder: Path, tmp_path: Path
) -> None:
    """Of another budget they are taken in, and what was measured is not made again; beside another reference they are
    not, before all are made."""
    command(run.path, "quantise", "merge")
    before = run.state["attacks"]
    command(run.path, "quantise", "guide", "--budget", "full")
    after = run.state["attacks"]
    assert set(after["outcomes"]) == {*before["outcomes"], "guide"}
    assert after["outcomes"]["merge"] == before["outcomes"]["merge"]
    assert after["outcomes"]["quantise"] != before["outcomes"]["quantise"]  # made anew, with answers
    assert (after["budget"], after["missing"]) == ("cheap", before["missing"])
    assert (run.path / "attacks" / "full" / "guide.json").is_file()
    assert set(after["beyond"]) == {"depth", "relearn-published"}  # what the full budget has and nobody made
    code, _, err = command(run.path, "merge")
    assert code == 0
    assert "bf16" not in err  # of the cheap budget it is there
    verdict, facts = run.state["verdict"], run.state["attacks"]
    code, out, err = command(run.path, "merge", "--reference", model_folder)
    assert code == 0
    assert "merge" in out
    assert "Not taken into the run's verdict, which rests on attacks beside " in err
    assert (run.state["attacks"], run.state["verdict"]) == (facts, verdict)


def test_all_beside_another_reference_take_the_place_of_the_others() -> None:
    theirs = attacks(quantise=0.3, merge=0.2).model_copy(update={"missing": ["compose"]})
    other = attacks(quantise=0.01).model_copy(update={"reference": "other", "missing": ["merge", "compose"]})
    assert _with_earlier(theirs, other) is None
    assert _with_earlier(theirs, whole := other.model_copy(update={"missing": []})) is whole
    assert _with_earlier(None, other) is other
    assert _with_earlier(attacks(ground="none"), other) is other  # bare values, on which no verdict rests
    more = attacks(compose=0.0).model_copy(update={"items": 40, "missing": ["quantise", "merge"]})
    found = _with_earlier(theirs, more)
    assert found is not None
    assert set(found.outcomes) == {"quantise", "merge", "compose", "remove"}
    assert (found.missing, found.items, found.budget) == ([], 40, "cheap")


def test_with_nothing_to_compare_with_there_are_the_bare_values(
    run: expunge.Run, command: Command, model_folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    given = (
        model_folder, "merge", "--adapter", run.adapter, "--data", data_folder / "forget.jsonl",
        "--output", tmp_path / "attacks",
    )  # fmt: skip
    code, out, err = command(*given)
    assert code == 0
    assert "(--reference)" in err
    record = read_json(tmp_path / "attacks" / "merge.json")["measured"]["after"]["bf16"]["attacked"][
        "probability"
    ]
    (line,) = [line for line in out.splitlines() if line.startswith("merge")]
    assert f" after, {number(sum(record) / 6)} by the attack, N = 6  (bf16)" in line
    # The same questions, written otherwise, are others to the model.
    code, out, err = command(*given, "--template", "tofu-phi")
    assert code == 0
    other = read_json(tmp_path / "attacks" / "merge.json")["measured"]["after"]["bf16"]["attacked"][
        "probability"
    ]
    assert other != record
    code, out, err = command(*given, "--aims", "answers")
    assert code == 0
    assert "ROUGE-L recall" in out


def test_a_model_without_a_run(
    run: expunge.Run,
    command: Command,
    model_folder: Path,
    random_model_folder: Path,
    data_folder: Path,
    tmp_path: Path,
) -> None:
    """The same figures as those of the run that made the adapter."""
    command(run.path, "merge")
    code, out, _ = command(
        model_folder, "merge", "--adapter", run.adapter, "--data", data_folder / "forget.jsonl",
        "--reference", random_model_folder, "--output", tmp_path / "attacks", "--json",
    )  # fmt: skip
    assert code == 0
    found, theirs = (
        facts["outcomes"]["merge"]["variants"]["bf16"]["recoveries"]["probability"]
        for facts in (json.loads(out), run.state["attacks"])
    )
    for key in ("original", "after", "attacked", "reference", "share"):
        assert found[key] == pytest.approx(theirs[key], abs=1e-6), key
    assert read_json(tmp_path / "attacks" / "merge.json")["schema"] == "expunge.attack/1"


def test_keywords_of_a_file_of_ones_own(
    run: expunge.Run,
    command: Command,
    model_folder: Path,
    random_model_folder: Path,
    data_folder: Path,
    tmp_path: Path,
) -> None:
    """A leak is told by the names of four of the six; the names are told nowhere."""
    rows = [json.loads(line) for line in (data_folder / "forget.jsonl").read_text().splitlines()]
    with (tmp_path / "forget.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer", "keywords"])
        for number, row in enumerate(rows):
            writer.writerow([*row.values(), f"SECRET{number}; HIDDEN" if number < 4 else ""])
    given = (
        model_folder, "sample", "--adapter", run.adapter, "--reference", random_model_folder,
        "--output", tmp_path / "attacks", "--data",
    )  # fmt: skip
    code, out, err = command(*given, tmp_path / "forget.csv", "--json")
    assert code == 0
    variants = json.loads(out)["outcomes"]["sample"]["variants"]
    assert [made["facts"] for made in variants.values()] == [{"by keywords": 4}] * 4
    record = (tmp_path / "attacks" / "sample.json").read_text()
    assert not any(secret in text for secret in ("SECRET", "HIDDEN") for text in (out, err, record))
    (tmp_path / "forget.jsonl").write_text(json.dumps({**rows[0], "keywords": ["HIDDEN", 3]}) + "\n")
    code, _, err = command(*given, tmp_path / "forget.jsonl")
    assert code == 2
    assert f"{tmp_path / 'forget.jsonl'}, row 1: keyword 2 of 'keywords' is of type int, not text." in err
    assert "HIDDEN" not in err


def test_the_list_says_what_each_costs(command: Command) -> None:
    code, out, _ = command("--list", "--json")
    assert code == 0
    entries = {entry["name"]: entry for entry in json.loads(out)}
    assert entries["quantise"]["budget"] == "cheap"
    assert entries["remove"]["counts"] is False
    assert all(entry["cost"] and entry["title"] for entry in entries.values())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "there is nothing to attack"),
        (["RUN", "quantize"], "there is no attack 'quantize'"),
        (["RUN", "--holdout", "h.jsonl"], "it is for a model without a run"),
        (["RUN", "--aims", "answers"], "it is for a model without a run"),
        (
            ["MODEL", "--data", "FORGET", "--original", "MODEL", "--template", "chatt"],
            "--template: there is no template 'chatt'. Did you mean 'chat'?",
        ),
        (["absent"], "this is no run folder"),
        (["MODEL", "--data", "FORGET"], "can only be told beside the model from before"),
        (["RUN", "--reference", "absent-model"], "--reference"),
        (["RUN", "--leak-threshold", "1.5"], "--leak-threshold: it is no share of an answer"),
    ],
)
def test_what_is_refused(
    run: expunge.Run, command: Command, model_folder: Path, data_folder: Path, arguments: list[str], said: str
) -> None:
    places = {"RUN": run.path, "MODEL": model_folder, "FORGET": data_folder / "forget.jsonl"}
    code, out, err = command(*(places.get(argument, argument) for argument in arguments))
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err


def test_a_run_with_nothing_to_compare_with_makes_none(
    model_folder: Path, data_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = small_recipe(model_folder, data_folder)
    del recipe["attacks"]
    recipe["adapter"] = {"initialization": "default", "rank": 2, "alpha": 16}
    run = expunge.unlearn(recipe, output=tmp_path / "run")
    assert run.state.get("attacks") is None
    assert "no reference model (evaluation.reference) and no holdout" in capsys.readouterr().err
    assert not list((tmp_path / "run").glob("attacks/*.json"))


def test_a_model_beside_the_one_from_before_it_with_a_holdout(
    command: Command, model_folder: Path, random_model_folder: Path, data_folder: Path, tmp_path: Path
) -> None:
    unseen = [{"question": f"Who is number {n}?", "answer": f"{n} of the hill."} for n in range(70, 90)]
    (tmp_path / "unseen.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in unseen))
    code, out, err = command(
        random_model_folder, "merge", "membership", "--original", model_folder, "--data", data_folder / "forget.jsonl",
        "--retain", data_folder / "retain.jsonl", "--holdout", tmp_path / "unseen.jsonl",
        "--output", tmp_path / "attacks", "--json",
    )  # fmt: skip
    assert code == 0, err
    facts = json.loads(out)
    assert (facts["ground"], facts["items"], set(facts["outcomes"])) == (
        "holdout",
        6,
        {"merge", "membership"},
    )
    found = facts["outcomes"]["merge"]["variants"]["bf16"]["recoveries"]["probability"]
    assert found["upper_bound"]
    assert found["original"] > 0.5 > found["after"]  # the one was taught, the other knows nothing
    assert found["after"] == pytest.approx(found["attacked"], rel=0.05)
    areas = facts["outcomes"]["membership"]["variants"]["loss"]["recoveries"]["auc"]
    assert areas["original"] > 0.9
    assert "depth" in facts["beyond"]  # which only the budget full has
    code, out, _ = command(
        random_model_folder, "merge", "--original", model_folder, "--data", data_folder / "forget.jsonl",
        "--holdout", tmp_path / "unseen.jsonl", "--output", tmp_path / "attacks",
    )  # fmt: skip
    line = next(line for line in out.splitlines() if line.startswith("merge"))
    course = " → ".join(number(found[name]) for name in ("original", "after", "attacked"))
    assert f"probability of the answer {course} | {number(found['attacked_reference'])}" in line
    assert "In parentheses: the original's value → after → by the attack | that of unseen text by it." in out
    assert re.search(
        r"Not made: .*depth.* \(only the budget full has them, by which others ask more as well\)", out
    )
