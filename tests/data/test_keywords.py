"""Keywords of a row: read from every kind of file, refused with a sentence, no part of the content but of its hash."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

import tokenizer_families
from expunge.data.encoding import Encoder
from expunge.data.sample_set import SampleSet
from expunge.data.samples import Conversation, QuestionAnswer, conversation
from expunge.data.sets import load_data
from expunge.data.settings import OwnData
from expunge.errors import InputError
from expunge.run.inputs import _overlaps

ASKED = {"question": "Who?", "answer": "Ada Vance."}
TURNS = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada Vance."}]
NAMED = ("Ada Vance", "12 Sea Road; Hull")


def lines(file: Path, *rows: Any) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def load(file: Path, **options: Any) -> Any:
    return load_data(OwnData(forget=str(file), **options), retain_needed=False).forget


def sentence(file: Path, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(file, **options)
    return str(caught.value)


def keywords(samples: Any) -> list[tuple[str, ...]]:
    return [sample.keywords for sample in samples]


def test_lists_of_questions_and_of_conversations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = [{"keywords": [f" {NAMED[0]}", NAMED[1]]}, {"keywords": []}, {"keywords": None}, {}]
    asked = load(lines(tmp_path / "asked.jsonl", *({**ASKED, **more} for more in given))).samples
    said = load(lines(tmp_path / "said.jsonl", *({"messages": TURNS, **more} for more in given))).samples
    assert keywords(asked) == keywords(said) == [NAMED, (), (), ()]
    table = pyarrow.Table.from_pylist([{**ASKED, "keywords": list(NAMED)}, {**ASKED, "keywords": None}])
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    assert keywords(load(tmp_path / "a.parquet").samples) == [NAMED, ()]
    assert capsys.readouterr().err == ""  # the column is read


@pytest.mark.parametrize("separator", [",", ";"])
def test_a_cell_of_a_csv_file_parts_them_by_semicolons(tmp_path: Path, separator: str) -> None:
    """What is written, and read again, is what a list would have given."""
    file = tmp_path / "a.csv"
    with file.open("w", newline="") as written:
        writer = csv.writer(written, delimiter=separator)
        writer.writerows(
            [("question", "answer", "keywords"), ("Who?", "Ada Vance.", "Ada Vance; Hull,\nSea Road")]
        )
        writer.writerows([("Where?", "There.", ""), ("When?", "Then.", " "), ("Why?", "So.", "Hull")])
    found = load(file)
    assert keywords(found.samples) == [("Ada Vance", "Hull,\nSea Road"), (), (), ("Hull",)]
    listed = [
        {"question": sample.question, "answer": sample.answer, "keywords": list(sample.keywords)}
        for sample in found.samples
    ]
    assert load(lines(tmp_path / "a.jsonl", *listed)).describe()["hash"] == found.describe()["hash"]


def test_the_column_by_another_name(tmp_path: Path) -> None:
    file = lines(tmp_path / "a.jsonl", ASKED, {**ASKED, "names": ["Ada"]})
    assert keywords(load(file, keywords_column="names").samples) == [(), ("Ada",)]
    assert keywords(load(file, columns_of={"forget": {"keywords": "names"}}).samples) == [(), ("Ada",)]
    assert sentence(file, keywords_column="nmaes") == (
        f"data.keywords_column: no question and no conversation of '{file}' has keywords in a column 'nmaes'. Correct "
        "the name, or leave it out."
    )


def test_of_texts_the_column_is_named_as_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    load(lines(tmp_path / "a.jsonl", {"text": "Ada Vance.", "keywords": ["SECRET"]}))
    said = capsys.readouterr().err
    assert "not read are the columns keywords." in said
    assert "SECRET" not in said


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (7, "the 'keywords' are of type int, not a list of texts."),
        (True, "the 'keywords' are of type bool, not a list of texts."),
        ({"name": "SECRET"}, "the 'keywords' are of type dict, not a list of texts."),
        (["SECRET", 7], "keyword 2 of 'keywords' is of type int, not text."),
        (["SECRET", None], "keyword 2 of 'keywords' is of type NoneType, not text."),
        ([""], "keyword 1 of 'keywords' holds no letter and no digit."),
        (["SECRET", " \n"], "keyword 2 of 'keywords' holds no letter and no digit."),
        (["…"], "keyword 1 of 'keywords' holds no letter and no digit."),
        ("SECRET;;Ada", "keyword 2 of 'keywords' holds no letter and no digit."),
        ("SECRET; ", "keyword 2 of 'keywords' holds no letter and no digit."),
        (" ['SECRET', 'Ada']", "the 'keywords' are a list that was written as one text."),
        ('["SECRET"]', "the 'keywords' are a list that was written as one text."),
    ],
)
@pytest.mark.parametrize("row", [ASKED, {"messages": TURNS}], ids=["question", "conversation"])
def test_what_are_no_keywords(tmp_path: Path, row: dict[str, Any], given: Any, reason: str) -> None:
    file = lines(tmp_path / "a.jsonl", row, {**row, "keywords": given})
    said = sentence(file)
    assert said.startswith(f"{file}, row 2: {reason} Write a list of texts, ")
    assert "SECRET" not in said


def test_rows_without_keywords_hash_as_ever_and_with_them_otherwise(tmp_path: Path) -> None:
    plain = QuestionAnswer("Who's there?", 'Ada "Vance".')
    assert repr(plain) == """QuestionAnswer(question="Who's there?", answer='Ada "Vance".')"""
    # The hash that version 0.1.0 wrote to run.json: of the line that JSON makes of a sample's repr.
    line = json.dumps("QuestionAnswer(question='Who?', answer='Ada Vance.')") + "\n"
    without = load(lines(tmp_path / "a.jsonl", ASKED)).describe()
    assert without["hash"] == hashlib.sha256(line.encode()).hexdigest()
    with_them = load(lines(tmp_path / "b.jsonl", {**ASKED, "keywords": ["Ada"]})).describe()
    other = load(lines(tmp_path / "c.jsonl", {**ASKED, "keywords": ["Vance"]})).describe()
    assert len({without["hash"], with_them["hash"], other["hash"]}) == 3
    said = conversation([{**TURNS[0], "name": "Bo"}, TURNS[1]])
    assert repr(Conversation(said.turns, said.more, ("Ada",))) == f"{repr(said)[:-1]}, keywords=('Ada',))"


def test_they_are_no_part_of_what_is_trained_on_and_compared(tmp_path: Path) -> None:
    plain, named = QuestionAnswer("Who?", "Ada."), QuestionAnswer("Who?", "Ada.", ("Ada",))
    encoder = Encoder(tokenizer_families.gpt2_like())
    assert plain.encode(encoder) == named.encode(encoder)
    turns = (("user", "Who?"), ("assistant", "Ada."))
    assert Conversation(turns) == Conversation(turns, keywords=("Ada",))
    # What is to stay, and what was forgotten already, is found whether the rows name keywords or not.
    forget = lines(tmp_path / "forget.jsonl", {**ASKED, "keywords": ["Ada"]})
    assert sentence(forget, retain=str(lines(tmp_path / "retain.jsonl", ASKED))).startswith(
        "data.retain: 1 of the forget samples are in the retain set as well, first row 1 of "
    )
    (problem,) = _overlaps([SampleSet("first", [plain]), SampleSet("second", [named])])
    assert "1 samples of 'second' are in 'first' as well" in problem.reason
