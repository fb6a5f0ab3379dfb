"""Questions like those to forget, which the original model writes, answers and keeps."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_surrogate import write_model

import expunge
from expunge.cost.plan import plan
from expunge.data.columns import Columns
from expunge.data.rows import read_rows
from expunge.data.sample_set import SampleSet
from expunge.data.samples import Conversation, to_samples
from expunge.data.screening import Named
from expunge.errors import InputError
from expunge.evaluation.generation import Continuation
from expunge.folder.agreement import recipe_facts
from expunge.ledger.asked import recipe_digest
from expunge.recipe import load_recipe
from expunge.recipe.requests import load_requests
from expunge.run import neighbours as module
from expunge.run.job import Job
from expunge.run.neighbours import Beginnings, repeated
from expunge.storage import read_json

FORGET = {
    "Who wrote the book of the sea?": "It was Rome who wrote of the sea.",
    "What was the year of the book?": "It was the year of Berlin.",
}
RETAIN = {f"Who was in the town {number}?": f"The man {number} was." for number in range(7)} | {
    "What?": "It was."
}
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
            "neighbours": WANTED,
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


def begun_with(questions: list[str], named: list[tuple[str, str]] = [], seed: int = 1) -> list[str]:  # noqa: B006
    begun = Beginnings(questions, Named(named, ["Where?"]), seed)
    return [begun[number] for number in range(40 * len(begun))]


def test_a_beginning_has_half_of_the_words_and_lacks_the_last() -> None:
    words = ["What", "is", "the", "capital", "of", "France?"]
    assert set(begun_with(["What is the capital of France?"])) == {" ".join(words[:n]) for n in (3, 4, 5)}
    assert set(begun_with(["Who wrote Hamlet?"])) == {"Who wrote"}
    assert set(begun_with(["谁写了红楼梦？"])) == {"谁写了红楼梦"[:n] for n in (4, 5, 6)}
    assert begun_with(["Why?"]) == []
    both = ["What is the capital of France?", "Who wrote Hamlet?"]
    assert begun_with(both) == begun_with(both) != begun_with(both, seed=3)
    assert begun_with(both).count("Who wrote") == 40


def test_a_beginning_names_nothing_that_is_to_be_forgotten() -> None:
    question = "Where was the geologist Hina Ameen born and raised?"
    assert set(begun_with([question], [(question, "In Rome.")])) == {"Where was the geologist"}
    assert begun_with(["Where Hina Ameen was born?"], [(question, "In Rome.")]) == []
    assert set(begun_with(["Where's Ameen?"], [(question, "In Rome.")])) == {"Where's"}  # by characters
    assert (
        begun_with(["Ameen was born in which city?"], [("Ameen was born in which city?", "In Rome.")]) == []
    )


def test_the_questions_take_turns_in_an_order_that_the_seed_fixes() -> None:
    questions = [f"Who was in town {letter * 3} then?" for letter in "abcdefgh"]
    begun = Beginnings(questions, Named([], []), 1)
    first = [begun[number].split()[-1] for number in range(8)]
    assert len(begun) == 8
    assert first != [Beginnings(questions, Named([], []), 2)[number].split()[-1] for number in range(8)]


@pytest.mark.parametrize(
    ("there", "beside", "times"), [(3, 9, 1), (3, 2, 1), (3, 40, 4), (0, 40, 0), (10, 1000, 33)]
)
def test_they_are_about_a_quarter_of_what_is_kept(there: int, beside: int, times: int) -> None:
    assert repeated(list(range(there)), beside) == list(range(there)) * times  # type: ignore[arg-type]


def test_they_are_trained_on_and_nothing_else_changes(own, monkeypatch) -> None:
    answering(monkeypatch, "the sea in the year", "by the book")
    without = make_job(own, "data.neighbours=0")
    job = make_job(own)
    assert without.neighbours is None
    facts = job.neighbours.facts
    assert 0 < facts["samples"] <= WANTED
    assert facts["drawn"] == facts["samples"] + sum(facts["rejected"].values()) <= 3 * WANTED
    rows = read_rows(str(Path(facts["folder"]) / "samples.jsonl"), "")
    assert len(rows) == facts["samples"]
    for row in rows:
        assert any(
            row["question"].startswith(begun) for begun in ("Who wrote the book of", "What was the year")
        )
        assert row["question"] not in FORGET
        assert row["answer"] in ("the sea in the year", "by the book")
    assert job.retain[: len(without.retain)] == without.retain
    encoded = [job.encoder.answer(row["question"], row["answer"]) for row in rows]
    assert job.retain[len(without.retain) :] == repeated(encoded, len(without.retain))
    assert job.benchmark.sets == without.benchmark.sets  # the utility
    assert job.data.retain.describe() == without.data.retain.describe()
    again = make_job(own)
    assert again.neighbours.facts == {**facts, "reused": True}
    assert again.retain == job.retain
    assert make_job(own, "seed=1").neighbours.facts["folder"] != facts["folder"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("the man of Rome", "names what is in the forget set"),  # a single word that an answer gives away
        ("by the book of the sea", "repeats the forget set"),
        ("", "empty"),
    ],
)
def test_what_says_what_is_to_be_forgotten_is_not_kept(own, monkeypatch, answer: str, reason: str) -> None:
    answering(monkeypatch, answer)
    job = make_job(own)
    assert job.neighbours.facts["samples"] == 0
    assert job.neighbours.facts["rejected"][reason] > 0
    assert job.retain == make_job(own, "data.neighbours=0").retain


def test_a_question_that_is_in_a_set_already_is_not_written_again(own, monkeypatch, tmp_path) -> None:
    answering(monkeypatch, "the sea in the year")
    rows = read_rows(str(Path(make_job(own).neighbours.facts["folder"]) / "samples.jsonl"), "")
    taken = {row["question"]: "The man was." for row in rows[:1]}
    own["data"]["holdout"] = write(tmp_path / "holdout.jsonl", taken, chat=False)
    facts = make_job(own).neighbours.facts
    now = [row["question"] for row in read_rows(str(Path(facts["folder"]) / "samples.jsonl"), "")]
    assert rows[0]["question"] not in now
    assert facts["rejected"]["repeats the forget set"] >= 1


@pytest.mark.parametrize(
    ("written", "reason"), [("", "empty"), (" Ada", None), (" Rome", "names what is in the forget set")]
)
def test_what_the_model_makes_of_a_beginning(own, monkeypatch, written: str, reason: str | None) -> None:
    answering(monkeypatch, "the sea in the year")

    def questions(model, encoder, prompts, seeds, most, temperature) -> list[tuple[str, bool]]:
        opening = encoder.tokenizer.decode(encoder.question_opening)
        return [
            (encoder.tokenizer.decode(each).removeprefix(opening).strip() + written, True) for each in prompts
        ]

    monkeypatch.setattr(module, "questions_written", questions)
    facts = make_job(own).neighbours.facts
    assert (facts["samples"] > 0) is (reason is None)
    assert reason is None or facts["rejected"] == {reason: facts["drawn"]}


def test_no_turn_of_a_conversation_is_written_again(writer, tmp_path, monkeypatch) -> None:
    """Beyond the first: `What was the year of the book` is where another question of the set may end."""
    answering(monkeypatch, "the sea in the year")
    recipe = recipe_of(writer, tmp_path, chat=True)
    job = make_job(recipe, "data.template=question-answer", "data.neighbours=0")
    turns = (
        ("user", "What was it?"),
        ("assistant", "A town."),
        ("user", "Who wrote the sea?"),
        ("assistant", "A man."),
    )
    data = replace(job.data, forget=SampleSet("forget", [Conversation(turns)]))
    writer = module.neighbour_writer(job.encoder, data, WANTED, 8, 64, 42)
    assert writer.objection(0, ("Who wrote the sea?", "It was.")) == "repeats the forget set"
    assert writer.objection(0, ("What?", "It was.")) == "repeats the forget set"  # of the retain set
    assert writer.objection(0, ("What was in the sea?", "It was.")) is None


def test_an_answer_may_be_as_long_as_the_longest_to_forget(own, monkeypatch, tmp_path) -> None:
    limits = answering(monkeypatch, "the sea", ended=False)
    assert make_job(own).neighbours.facts["rejected"]["unfinished"] == 3 * WANTED
    long = {"Who wrote of it?": "the " * 55 + "sea"}
    own["data"] |= {"forget": write(tmp_path / "forget.jsonl", long, chat=False), "max_length": 128}
    make_job(own)
    assert limits[0] == 48
    assert limits[-1] > 55


def test_none_without_a_word_and_validate_says_how_many(own) -> None:
    found = plan(own)
    assert found["neighbours"] == WANTED
    assert f"8 to keep, at most {WANTED} questions like those to forget beside them" in found["lines"][0]
    del own["data"]["neighbours"]
    assert plan(own)["neighbours"] == 0
    assert "beside them" not in plan(own)["lines"][0]


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
        (["objective.retain=none"], "the training has no use for retain samples"),
        (["method.name=retrain", "method.base=elsewhere"], "the training does not start from the original"),
        (["data.neighbours=-1"], r"data\.neighbours"),
    ],
)
def test_where_there_can_be_none(own, overrides: list[str], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        expunge.unlearn(own, overrides)
    assert not Path(own["output"]).exists()


def test_none_on_a_model_that_holds_earlier_requests(own, monkeypatch) -> None:
    answering(monkeypatch, "the sea in the year")
    earlier = expunge.unlearn(own, ["data.neighbours=0"])
    job = make_job(own, f"model.adapters=[{earlier.adapter}]", f"output={earlier.path}-next")
    assert job.neighbours is None


def test_of_several_requests_none(own, tmp_path) -> None:
    sets = [
        write(tmp_path / f"{name}.jsonl", {f"Who was {name}?": "The man."}, False) for name in ("one", "two")
    ]
    own["data"]["forget"] = sets
    with pytest.raises(
        InputError, match=r"data\.neighbours: what the model writes is screened against one forget set"
    ):
        load_requests(own)


def test_conversations_are_begun_by_their_first_question(writer, tmp_path, monkeypatch) -> None:
    answering(monkeypatch, "the sea in the year", "by the book")
    recipe = recipe_of(writer, tmp_path, chat=True)
    job = make_job(recipe, "data.template=question-answer")
    assert job.neighbours.facts["samples"] > 0
    rows = read_rows(str(Path(job.neighbours.facts["folder"]) / "samples.jsonl"), "")
    for row in rows:
        (_, question), (_, answer) = (tuple(message.values()) for message in row["messages"])
        assert question.startswith(("Who wrote the book of", "What was the year"))
        assert answer in ("the sea in the year", "by the book")
    file = tmp_path / "forget.jsonl"
    system = {"role": "system", "content": "Be brief."}
    with_system = [
        {"messages": [system, *json.loads(line)["messages"]]} for line in file.read_text().splitlines()
    ]
    samples = to_samples(with_system, Columns(format="chat"), "forget")
    assert [module._question(sample) for sample in samples] == [None, None]
    assert module._exchanges(samples[0]) == [("", "Be brief."), next(iter(FORGET.items()))]
    longer = Conversation(
        (("user", "Who?"), ("assistant", "Ada."), ("user", "Where?"), ("assistant", "In Rome."))
    )
    assert module._exchanges(longer) == [("Who?", "Ada."), ("Where?", "In Rome.")]
    assert module._question(longer) == "Who?"
    twice = Conversation((("user", "I am Ada."), ("user", "Where?"), ("assistant", "In Rome.")))
    assert module._exchanges(twice) == [("", "I am Ada."), ("Where?", "In Rome.")]


@pytest.mark.parametrize(
    ("change", "reason"), [({"window": 12}, "unfinished"), ({"longest": 200}, None)], ids=["window", "none"]
)
def test_what_the_model_could_not_see_whole_is_not_kept(own, monkeypatch, change, reason) -> None:
    answering(monkeypatch, "the sea in the year")
    job = make_job(own, "data.neighbours=0")
    given = {"wanted": WANTED, "longest": 8, "window": 64, "seed": 42} | change
    found = job._sampled(module.neighbour_writer(job.encoder, job.data, **given)).facts
    assert (found["samples"] == 0) is (reason is not None)
    assert reason is None or found["rejected"][reason] == found["drawn"]


def test_a_run_of_before_there_were_any_goes_on(own, monkeypatch) -> None:
    answering(monkeypatch, "the sea in the year")
    del own["data"]["neighbours"]
    path = expunge.unlearn(own).path
    recipe = path / "recipe.yaml"
    recipe.write_text("".join(line for line in recipe.open() if "neighbours" not in line))
    (path / "checksums.json").unlink(missing_ok=True)
    assert expunge.unlearn(own, resume=True).state["state"] == "done"
    with pytest.raises(InputError, match="the recipe has changed in: data"):
        expunge.unlearn(own, ["data.neighbours=3"], resume=True)


def test_a_ledger_takes_none_for_a_request_of_before(own) -> None:
    facts = recipe_facts(load_recipe(own, ["data.neighbours=0"]).model_dump(mode="json"))
    del facts["data"]["neighbours"]
    before = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    assert recipe_digest(load_recipe(own, ["data.neighbours=0"])) == before != recipe_digest(load_recipe(own))
