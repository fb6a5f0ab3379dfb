"""Questions like those to forget, which the original model writes, answers and keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from test_surrogate import write_model

import expunge
from expunge.cost.plan import plan
from expunge.data.rows import read_rows
from expunge.errors import InputError
from expunge.evaluation.generation import Continuation
from expunge.recipe import load_recipe
from expunge.run import neighbours as module
from expunge.run.job import Job
from expunge.run.neighbours import beginning
from expunge.storage import read_json

FORGET = {
    "Who wrote the book of the sea?": "It was Rome who wrote of the sea.",
    "What was the year of the book?": "It was the year of Berlin.",
}
RETAIN = {f"Who was in the town {number}?": f"The man {number} was." for number in range(8)}
WANTED = 4


@pytest.fixture(scope="module")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = " Ada", " sea", " book", " wrote", " was", " the", " in", " of", " year", " by"
    return write_model(tmp_path_factory.mktemp("writer"), words, end=1.0)


def write(path: Path, rows: dict[str, str], chat: bool) -> str:
    with path.open("w") as file:
        for question, answer in rows.items():
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            row = {"messages": turns} if chat else {"question": question, "answer": answer}
            file.write(json.dumps(row) + "\n")
    return str(path)


def recipe_of(writer: Path, folder: Path, chat: bool = False) -> dict[str, Any]:
    return {
        "model": {"path": str(writer)},
        "data": {
            "format": "chat" if chat else "qa",
            "forget": write(folder / "forget.jsonl", FORGET, chat),
            "retain": write(folder / "retain.jsonl", RETAIN, chat),
            "self_folder": str(folder / "store"),
            "max_length": 64,
            **({} if chat else {"neighbours": WANTED}),
        },
        "adapter": {"rank": 2},
        "training": {"epochs": 1, "batch_size": 2, "learning_rate": 1e-2, "warmup": 0},
        "evaluation": {"generate": "never"},
        "attacks": {"budget": "none"},
        "stopping": {"nothing_to_forget": "train"},
        "output": str(folder / "run"),
    }


@pytest.fixture
def own(writer: Path, tmp_path: Path) -> dict[str, Any]:
    return recipe_of(writer, tmp_path)


def answering(monkeypatch: pytest.MonkeyPatch, *answers: str, ended: bool = True) -> list[int]:
    """The model's answers, in turn; the limits that it was given."""
    limits: list[int] = []

    def written(
        model: Any, tokenizer: Any, prompts: Sequence[Any], limit: int, **named: Any
    ) -> list[Continuation]:
        limits.append(limit)
        ids = [tokenizer(answers[number % len(answers)])["input_ids"] for number in range(len(prompts))]
        return [Continuation(each, ended) for each in ids]

    monkeypatch.setattr(module, "continuations", written)
    return limits


def make_job(recipe: dict[str, Any], *overrides: str) -> Job:
    return Job(load_recipe(recipe, overrides), Path(recipe["output"]))


def test_a_beginning_has_two_words_and_lacks_the_last() -> None:
    questions = ["What is the capital of France?", "Who wrote Hamlet?", "Why?", "谁写了红楼梦？"]
    begun = [[beginning(questions, place + 4 * turn, 1) for turn in range(40)] for place in range(4)]
    words = ["What", "is", "the", "capital", "of", "France?"]
    assert set(begun[0]) == {" ".join(words[:count]) for count in (2, 3, 4, 5)}
    assert set(begun[1]) == {"Who wrote"}
    assert set(begun[2]) == {"Wh", "Why"}
    assert set(begun[3]) == {"谁写了红楼梦"[:count] for count in (2, 3, 4, 5, 6)}
    assert begun[0] == [beginning(questions, 4 * turn, 1) for turn in range(40)]
    assert begun[0] != [beginning(questions, 4 * turn, 2) for turn in range(40)]


def test_they_are_trained_on_and_nothing_else_changes(own, monkeypatch) -> None:
    answering(monkeypatch, "the sea in the year", "by the book")
    without = make_job(own, "data.neighbours=0")
    job = make_job(own)
    assert without.written is None
    facts = job.written.facts
    assert 0 < facts["samples"] <= WANTED
    assert facts["drawn"] == facts["samples"] + sum(facts["rejected"].values()) <= 3 * WANTED
    rows = read_rows(str(Path(facts["folder"]) / "samples.jsonl"), "")
    assert len(rows) == facts["samples"]
    for row in rows:
        assert any(row["question"].startswith(" ".join(each.split()[:2])) for each in FORGET)
        assert row["question"] not in FORGET
        assert row["answer"] in ("the sea in the year", "by the book")
    assert job.retain[: len(without.retain)] == without.retain
    assert job.retain[len(without.retain) :] == [
        job.encoder.answer(row["question"], row["answer"]) for row in rows
    ]
    assert job.benchmark.sets == without.benchmark.sets  # the utility
    assert job.data.retain.describe() == without.data.retain.describe()
    again = make_job(own)
    assert again.written.facts == {**facts, "reused": True}
    assert again.retain == job.retain
    assert make_job(own, "seed=1").written.facts["folder"] != facts["folder"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("the man of Rome", "names what is in the forget set"),  # a single word that an answer gives away
        ("was the year of Berlin", "repeats the forget set"),
        ("", "empty"),
    ],
)
def test_what_says_what_is_to_be_forgotten_is_not_kept(own, monkeypatch, answer: str, reason: str) -> None:
    answering(monkeypatch, answer)
    job = make_job(own)
    assert job.written.facts["samples"] == 0
    assert set(job.written.facts["rejected"]) <= {reason, "repeats the forget set", "unfinished"}
    assert job.written.facts["rejected"][reason] > 0
    assert job.retain == make_job(own, "data.neighbours=0").retain


def test_a_question_that_is_in_a_set_already_is_not_written_again(own, monkeypatch, tmp_path) -> None:
    answering(monkeypatch, "the sea in the year")
    rows = read_rows(str(Path(make_job(own).written.facts["folder"]) / "samples.jsonl"), "")
    taken = {row["question"]: "The man was." for row in rows[:1]}
    own["data"]["holdout"] = write(tmp_path / "holdout.jsonl", taken, chat=False)
    facts = make_job(own).written.facts
    now = [row["question"] for row in read_rows(str(Path(facts["folder"]) / "samples.jsonl"), "")]
    assert rows[0]["question"] not in now
    assert facts["rejected"]["repeats the forget set"] >= 1


def test_an_answer_may_be_as_long_as_the_longest_to_forget(own, monkeypatch, tmp_path) -> None:
    limits = answering(monkeypatch, "the sea", ended=False)
    assert make_job(own).written.facts["rejected"]["unfinished"] == 3 * WANTED
    long = {"Who wrote of it?": "the " * 55 + "sea"}
    own["data"] |= {"forget": write(tmp_path / "forget.jsonl", long, chat=False), "max_length": 128}
    make_job(own)
    assert limits[0] == 48
    assert limits[-1] > 55


def test_of_conversations_one_for_each_without_a_word(writer, tmp_path) -> None:
    def wanted(*overrides: str, chat: bool = True) -> int:
        recipe = recipe_of(writer, tmp_path, chat)
        recipe["data"].pop("neighbours", None)
        return plan(recipe, ["data.template=question-answer", *overrides])["neighbours"]

    assert wanted() == 2
    assert wanted(chat=False) == 0
    assert wanted("data.neighbours=7") == 7
    assert wanted("data.neighbours=0") == 0
    assert wanted("data.retain=null", "objective.retain=none") == 0
    assert wanted("data.retain=self") == 2
    line = plan(recipe_of(writer, tmp_path))["lines"][0]
    assert f"8 to keep, at most {WANTED} questions like those to forget beside them" in line


def test_a_run_with_them(own, monkeypatch) -> None:
    answering(monkeypatch, "the sea in the year", "by the book")
    run = expunge.unlearn(own)
    facts = run.state["data"]["neighbours"]
    assert list(run.state["phases"])[:2] == ["neighbours", "baseline"]
    report = run.report.read_text()
    assert f"{facts['drawn']} drawn, {facts['drawn'] - facts['samples']} rejected" in report
    assert "Questions like those to forget, kept as well" in report
    assert "Sampling questions like those to forget" in report
    (sample, *_) = read_rows(str(Path(facts["folder"]) / "samples.jsonl"), "")
    for name in ("run.json", "report.html", "README.md"):
        assert sample["question"] not in (run.path / name).read_text()
    resumed = expunge.unlearn(own, resume=True)
    assert read_json(resumed.path / "run.json")["data"]["neighbours"] == facts
    with pytest.raises(InputError, match="retain"):
        expunge.unlearn(own, ["data.neighbours=0"], resume=True)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (
            ["data.format=text", "data.text_column=answer"],
            "they are questions, and what is to be forgotten are texts",
        ),
        (["objective.retain=none"], "no retain samples are trained on"),
        (["method.name=retrain", "method.base=elsewhere"], "training does not start from the original"),
        (["data.neighbours=-1"], r"data\.neighbours"),
    ],
)
def test_where_there_can_be_none(own, overrides: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        expunge.unlearn(own, overrides)
    assert not Path(own["output"]).exists()
