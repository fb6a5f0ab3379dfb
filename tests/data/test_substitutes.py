"""Refusals and alternates: from the user's files, each to its own question, whatever form they have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import tokenizer_families as families
from expunge.benchmarks.tofu.settings import TofuData
from expunge.data.encoding import Encoder
from expunge.data.samples import Conversation, QuestionAnswer, Sample
from expunge.data.sets import SampleSet
from expunge.data.settings import Data, OwnData
from expunge.data.substitutes import substitutes
from expunge.data.templates import TEMPLATES, choose_template
from expunge.errors import InputError
from expunge.models.answers import IGNORED

QUESTIONS = [f"Who is number {n}?" for n in range(4)]
FORGET = [QuestionAnswer(question, f"Ada {n}.") for n, question in enumerate(QUESTIONS)]
OWN = OwnData(forget="forget.jsonl", format="qa")


def encoder(chat: bool = False) -> Encoder:
    tokenizer = families.chat() if chat else families.gpt2_like()
    return Encoder(tokenizer, choose_template("chat", tokenizer) if chat else TEMPLATES["question-answer"])


def refusals(file: Path, count: int = 40) -> set[str]:
    """What is drawn: all of a short file."""
    made = encoder()
    samples = [FORGET[0]] * count
    found = substitutes(SampleSet("forget.jsonl", samples), "refusal", str(file), OWN, made, 0)
    texts = {
        made.tokenizer.decode([label for label in example.labels if label >= 0], skip_special_tokens=True)
        for example in found
    }
    assert len(found) == count
    return {text.strip() for text in texts}


def alternates(
    samples: list[Any], file: Path, data: Data = OWN, chat: bool = False, seed: int = 0
) -> list[Any]:
    return substitutes(
        SampleSet("forget.jsonl", samples), "alternate", str(file), data.columns, encoder(chat), seed
    )


def encoded(samples: list[Sample], chat: bool = False) -> list[Any]:
    return [example for sample in samples for example in sample.encode(encoder(chat))]


def write(file: Path, rows: list[Any]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.mark.parametrize(
    "content",
    [
        "I cannot say.\n\n  No idea.\n",
        "\ufeffI cannot say.\r\nNo idea.\r\n",
        '{"answer": "I cannot say."}\n{"text": "No idea."}\n',
        '["I cannot say.", "No idea."]',
        '[\n  {"answer": "I cannot say."},\n  {"answer": "No idea."}\n]\n',
        '"I cannot say."\n"No idea."\n',
    ],
    ids=["text", "windows", "objects", "list", "list of objects", "texts as JSON"],
)
@pytest.mark.parametrize("name", ["refusals.txt", "refusals.jsonl", "refusals.csv"])
def test_refusals_are_read_by_what_they_are(tmp_path: Path, name: str, content: str) -> None:
    """TOFU's own idontknow.jsonl is plain text."""
    file = tmp_path / name
    file.write_text(content, encoding="utf-8", newline="")
    assert refusals(file) == {"I cannot say.", "No idea."}


def test_refusals_in_a_table(tmp_path: Path) -> None:
    file = tmp_path / "refusals.csv"
    file.write_text('answer,note\n"I am sorry, no.",a\nNo idea.,b\n')
    assert refusals(file) == {"I am sorry, no.", "No idea."}


def test_the_true_answer_is_no_alternate(tmp_path: Path) -> None:
    same = [{"question": each.question, "answer": f"{each.answer} ".upper()} for each in FORGET]
    with pytest.raises(
        InputError, match=r"of the 4 questions .* as they are answered there, first that of row 1"
    ):
        alternates(FORGET, write(tmp_path / "same.jsonl", same))
    other = [{"question": each.question, "answer": "Bob."} for each in FORGET]
    both = write(tmp_path / "both.jsonl", [*same, *other])
    assert alternates(FORGET, both) == encoded([QuestionAnswer(each.question, "Bob.") for each in FORGET])


def test_a_byte_order_mark_is_no_part_of_a_refusal(tmp_path: Path) -> None:
    file = tmp_path / "refusals.txt"
    file.write_text("Ada was born in a town.\n", encoding="utf-8-sig")
    made = encoder()
    forget = SampleSet("forget.jsonl", [QuestionAnswer("Where was Ada born?", "By the sea.")])
    (example,) = substitutes(forget, "refusal", str(file), OWN, made, seed=0)
    labels = [label for label in example.labels if label != IGNORED]
    written = made.tokenizer.decode(labels, skip_special_tokens=True)
    assert written.strip() == "Ada was born in a town."


def test_brackets_do_not_make_json(tmp_path: Path) -> None:
    file = tmp_path / "refusals.txt"
    file.write_text("[redacted]\n")
    assert refusals(file) == {"[redacted]"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"caf\xe9 no\n", r"refusals.txt' cannot be read: .*utf-8.* Save it as UTF-8"),
        (b" \n\n", "holds no line"),
        (
            b'{"answer": "No."}\n{"answers": ["No."]}\n',
            "refusals.txt, row 2: it is JSON without a text as `answer`",
        ),
        (b'{"answer": "No."}\nI cannot say.\n', "refusals.txt, row 2: the line is not JSON"),
        (b'I cannot say.\n{"answer": "No."}\n', "refusals.txt, row 1: the line is not JSON"),
        (b'{"answer": "No.",}\n', "refusals.txt, row 1: the line is not JSON"),
        (b'[\n"No."\n', "refusals.txt' cannot be read"),
    ],
)
def test_refusals_that_are_none_are_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "refusals.txt"
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        refusals(file)


def test_a_refusals_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"objective\.substitutes: there is no file"):
        refusals(tmp_path / "absent.txt")


def test_alternates_go_to_their_question_in_any_order(tmp_path: Path) -> None:
    """One file may serve several forget sets: rows of other questions are left alone."""
    rows = [{"question": question, "answer": f"Bob {n}."} for n, question in enumerate(QUESTIONS)]
    file = write(tmp_path / "alternates.jsonl", rows[::-1])
    wanted = [QuestionAnswer(question, f"Bob {n}.") for n, question in enumerate(QUESTIONS)]
    assert alternates(FORGET, file) == encoded(wanted)
    assert alternates(FORGET[2:], file) == encoded(wanted[2:])
    tofu = TofuData(format="tofu", path="tofu", forget="forget01")
    assert alternates(FORGET, file, tofu) == encoded(wanted)


def test_columns_are_those_of_the_recipe(tmp_path: Path) -> None:
    file = write(tmp_path / "alternates.jsonl", [{"prompt": QUESTIONS[1], "completion": "Bob."}])
    data = OwnData(forget="forget.jsonl", question_column="prompt", answer_column="completion")
    assert alternates(FORGET[1:2], file, data) == encoded([QuestionAnswer(QUESTIONS[1], "Bob.")])


def turns(*contents: str) -> tuple[tuple[str, str], ...]:
    return tuple((("user", "assistant")[place % 2], content) for place, content in enumerate(contents))


@pytest.mark.parametrize("form", ["chat", "qa"])
def test_conversations_are_compared_by_what_was_asked(tmp_path: Path, form: str) -> None:
    samples = [Conversation(turns(question, "Ada.")) for question in QUESTIONS]
    wanted = [Conversation(turns(question, f"Bob {n}.")) for n, question in enumerate(QUESTIONS)]
    rows = (
        [{"messages": sample.messages} for sample in wanted]
        if form == "chat"
        else [{"question": sample.turns[0][1], "answer": sample.truth} for sample in wanted]
    )
    file = write(tmp_path / "alternates.jsonl", rows[::-1])
    data = OwnData(forget="forget.jsonl", format="chat")
    assert alternates(samples, file, data, chat=True) == encoded(wanted, chat=True)


def test_each_answer_of_a_longer_conversation_has_its_own_alternate(tmp_path: Path) -> None:
    samples = [Conversation(turns("Who?", "Ada.", "Where?", "There."))]
    wanted = [Conversation(turns("Who?", "Bob.", "Where?", "Here."))]
    file = write(
        tmp_path / "alternates.jsonl",
        [{"messages": Conversation(turns("Who?", "Eve.")).messages}, {"messages": wanted[0].messages}],
    )
    data = OwnData(forget="forget.jsonl")
    assert alternates(samples, file, data, chat=True) == encoded(wanted, chat=True)


def test_of_several_alternates_the_seed_draws(tmp_path: Path) -> None:
    rows = [{"question": QUESTIONS[0], "answer": f"Bob {n}."} for n in range(5)]
    file = write(tmp_path / "alternates.jsonl", rows)
    options = encoded([QuestionAnswer(row["question"], row["answer"]) for row in rows])
    drawn = alternates([FORGET[0]] * 60, file)
    assert all(example in options for example in drawn)
    assert all(option in drawn for option in options)
    assert drawn == alternates([FORGET[0]] * 60, file)
    assert drawn != alternates([FORGET[0]] * 60, file, seed=1)


def test_questions_without_an_alternate_are_counted(tmp_path: Path) -> None:
    rows = [{"question": question, "answer": "Bob."} for question in (QUESTIONS[0], QUESTIONS[2])]
    file = write(tmp_path / "alternates.jsonl", rows)
    with pytest.raises(
        InputError, match=r"does not ask 2 of the 4 questions of 'forget.jsonl', first that of row 2"
    ):
        alternates(FORGET, file)
    file.write_bytes(b'{"question": "caf\xe9", "answer": "no"}\n')
    with pytest.raises(InputError, match=r"objective.substitutes: .*alternates.jsonl' cannot be read"):
        alternates(FORGET, file)
