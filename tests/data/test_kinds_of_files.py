"""Files as people bring them: read right, refused with a sentence, or named as left out."""

from __future__ import annotations

import bz2
import gzip
import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from expunge.data.samples import Conversation, QuestionAnswer, Text, conversation
from expunge.data.sets import load_data
from expunge.data.settings import OwnData
from expunge.errors import InputError

ROW = '{"question": "Who?", "answer": "Ada."}\n'
ADA = [QuestionAnswer("Who?", "Ada.")]
TURNS = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]
CHAT = [Conversation((("user", "Who?"), ("assistant", "Ada.")))]


def load(file: Path | str, **options: Any) -> list[Any]:
    return list(load_data(OwnData(forget=str(file), **options), retain_needed=False).forget.samples)


def sentence(file: Path | str, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(file, **options)
    return str(caught.value)


def rows(file: Path, *given: Any) -> Path:
    """As JSON lines, or as parquet where the name says so."""
    if file.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(given)), file)
    else:
        file.write_text("".join(json.dumps(row) + "\n" for row in given))
    return file


def written(file: Path, content: str | bytes) -> Path:
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".zst"])
def test_compressed_files_and_such_that_are_cut_short(tmp_path: Path, ending: str) -> None:
    content = (ROW * 3).encode()
    if ending == ".zst":
        with pyarrow.output_stream(str(tmp_path / "a.jsonl.zst"), compression="zstd") as file:
            file.write(content)
    else:
        written(tmp_path / f"a.jsonl{ending}", {".gz": gzip, ".bz2": bz2}[ending].compress(content))
    file = tmp_path / f"a.jsonl{ending}"
    assert load(file) == ADA * 3
    file.write_bytes(file.read_bytes()[:-9])
    assert "cannot be read: " in sentence(file)
    assert "of no known kind" in sentence(written(tmp_path / f"a.docx{ending}", b""))


def test_a_folder_reads_every_file_or_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "data"
    (folder / "more").mkdir(parents=True)
    for name in ("a.txt", "B.TXT", "c.md", "more/d.txt"):
        (folder / name).write_text(name)
    written(folder / "e.txt.gz", gzip.compress(b"e.txt.gz"))
    linked = tmp_path / "elsewhere"
    linked.mkdir()
    (linked / "f.txt").write_text("f.txt")
    (folder / "link").symlink_to(linked)
    (folder / "again").symlink_to(folder)
    left_out = ("README.md", "scan.pdf", ".g.txt", ".ipynb_checkpoints/a.txt", "checkpoint-5/state.json")
    for name in left_out:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("no data")
    assert {sample.text for sample in load(folder)} == {
        "a.txt",
        "B.TXT",
        "c.md",
        "more/d.txt",
        "e.txt.gz",
        "f.txt",
    }
    said = capsys.readouterr().err
    assert "6 files are read and 5 left out" in said
    assert all(name in said for name in left_out)


def test_pipes_and_links_to_nothing_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.jsonl")
    assert "is a pipe, a socket or a device" in sentence(tmp_path / "a.jsonl")
    assert "is a pipe, a socket or a device" in sentence(tmp_path)
    (tmp_path / "a.jsonl").unlink()
    (tmp_path / "b.jsonl").symlink_to(tmp_path / "nothing")
    for source in (tmp_path, tmp_path / "b.jsonl"):
        assert "b.jsonl' cannot be read: [Errno 2]" in sentence(source)
    assert "of no known kind" in sentence("/dev/null")
    assert "there is no file" in sentence("a" * 5000)


@pytest.mark.parametrize("separator", [";", "\t", "|", ","])
@pytest.mark.parametrize("ending", ["csv", "tsv", "CSV"])
@pytest.mark.parametrize("declared", [False, True])
def test_separators(tmp_path: Path, ending: str, separator: str, declared: bool) -> None:
    between = separator.join
    content = f"{between(['question', 'answer'])}\r\n{between(['Who?', 'Ada.'])}\r\n"
    head = f"sep={separator}\r\n" if declared else ""
    assert load(written(tmp_path / f"a.{ending}", head + content)) == ADA


def test_whatever_ends_a_line_a_text_has_one_newline(tmp_path: Path) -> None:
    for number, newline in enumerate(("\n", "\r\n", "\r")):
        text = written(tmp_path / f"{number}.txt", f"Ada lived.{newline}She died.{newline}")
        assert load(text) == [Text("Ada lived.\nShe died.\n")]
        table = f'question,answer{newline}Who?,"Ada,{newline}or Bob."{newline}'
        assert load(written(tmp_path / f"{number}.csv", table)) == [QuestionAnswer("Who?", "Ada,\nor Bob.")]


def test_a_comma_in_the_names_of_columns_parts_them(tmp_path: Path) -> None:
    """As before there was a choice: other separators are looked for only where the usual one parts nothing."""
    file = written(tmp_path / "a.csv", "question,answer,a;b\nWho?,Ada.,1;2\n")
    assert load(file) == ADA
    assert load(written(tmp_path / "b.csv", "text\nAda; or Bob\n")) == [Text("Ada; or Bob")]


def test_what_tables_hold_beside_rows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path / "a.csv", "question;answer;note;;\nWho?;Ada.;a;;b\n;;;;\n  ;;;;\n")
    assert load(file) == ADA
    said = capsys.readouterr().err
    assert f"{file}: 2 rows of blank fields are left out." in said
    assert f"{file}: not read are the columns (one without a name), note." in said
    assert "two of its columns are called 'answer'" in sentence(
        written(tmp_path / "b.csv", "question,answer,answer\nWho?,Ada.,Bob.\n")
    )
    table = pyarrow.table([["Who?"], ["Ada."], ["Bob."]], names=["question", "answer", "answer"])
    pyarrow.parquet.write_table(table, tmp_path / "c.parquet")
    assert "two of its columns are called 'answer'" in sentence(tmp_path / "c.parquet")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "question,answer\nWho?,Zoë Ångström.\n"),
        ("a.json", '{"question": "?", "answer": "Zoë Ångström."}'),
    ],
)
def test_encodings_that_say_what_they_are(tmp_path: Path, encoding: str, name: str, content: str) -> None:
    assert load(written(tmp_path / name, content.encode(encoding)))[0].answer == "Zoë Ångström."


@pytest.mark.parametrize(
    ("encoding", "likely"),
    [("cp1252", "CP1252"), ("utf-16-le", "UTF-16LE"), ("utf-16-be", "UTF-16BE"), ("gb18030", "GB18030")],
)
def test_encodings_that_do_not(tmp_path: Path, encoding: str, likely: str) -> None:
    text = "question,answer\nWho?,Zoë.\n" if "gb" not in encoding else "question,answer\nWho?,宗教亜細亜。\n"
    found = sentence(written(tmp_path / "a.csv", text.encode(encoding)))
    assert "a.csv' cannot be read: " in found
    assert f"iconv -f {likely} -t UTF-8" in found


def test_numbers_keys_and_times_that_cannot_be_read(tmp_path: Path) -> None:
    file = written(tmp_path / "a.jsonl", ROW + '{"question": "a", "answer": "b", "answer": "c"}\n')
    assert f"{file}, row 2: the key 'answer' stands 2 times in one object." in sentence(file)
    assert "stands 2 times" in sentence(written(tmp_path / "a.json", f"[{file.read_text().splitlines()[1]}]"))
    file = written(tmp_path / "b.jsonl", ROW + f'{{"text": {"9" * 6000}}}\n')
    assert f"{file}, row 2: it holds a number of more than 4,300 digits." in sentence(file)
    assert "cannot be read: Exceeds the limit" in sentence(written(tmp_path / "b.json", f"[{'9' * 6000}]"))
    assert "'answer' is of type float, not text" in sentence(
        written(tmp_path / "c.json", '{"question": "a", "answer": NaN}')
    )
    times = pyarrow.array([2**62], pyarrow.timestamp("us"))
    pyarrow.parquet.write_table(pyarrow.table({"text": ["Ada."], "when": times}), tmp_path / "d.parquet")
    assert "d.parquet' cannot be read: " in sentence(tmp_path / "d.parquet")
    assert "cannot be read" in sentence(written(tmp_path / "e.parquet", b"PAR1"))
    now = rows(tmp_path / "f.parquet", {"text": "Ada.", "when": datetime(2024, 1, 1)})
    assert load(now) == [Text("Ada.")]


def test_alpacas_input_is_half_of_the_question(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = {"instruction": "Where?", "output": "In a town."}
    file = rows(tmp_path / "a.jsonl", {**plain, "input": "Ada", "source": "web"}, {**plain, "input": ""})
    wanted = [QuestionAnswer("Where?\nAda", "In a town."), QuestionAnswer("Where?", "In a town.")]
    assert load(file) == wanted
    assert capsys.readouterr().err == f"{file}: not read are the columns source.\n"
    assert load(file, question_column="instruction", answer_column="output") == wanted
    assert "the 'input' is of type int" in sentence(rows(tmp_path / "b.jsonl", {**plain, "input": 3}))


def test_one_set_may_call_its_columns_otherwise(tmp_path: Path) -> None:
    forget = rows(tmp_path / "forget.jsonl", {"question": "Who?", "answer": "Ada."})
    retain = rows(tmp_path / "retain.jsonl", {"q": "Where?", "a": "Here."})
    data = OwnData(
        forget=str(forget), retain=str(retain), columns_of={"retain": {"question": "q", "answer": "a"}}
    )
    found = load_data(data, retain_needed=True)
    assert found.forget.samples == ADA
    assert found.retain is not None
    assert found.retain.samples == [QuestionAnswer("Where?", "Here.")]


@pytest.mark.parametrize("ending", ["jsonl", "parquet"])
@pytest.mark.parametrize(
    "row",
    [
        {"messages": TURNS},
        {"conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Ada."}]},
        {"messages": [{"role": "User", "content": "Who?"}, {"role": "model", "content": "Ada."}]},
        {"messages": [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in TURNS]},
        {"messages": [{**turn, "refusal": None, "tool_calls": None, "weight": None} for turn in TURNS]},
    ],
)
def test_conversations_by_other_names(tmp_path: Path, ending: str, row: Any) -> None:
    assert load(rows(tmp_path / f"a.{ending}", row)) == CHAT


CALL = {"type": "function", "function": {"name": "look_up", "arguments": '{"person": "Ada"}'}}


def test_what_a_conversation_holds_beside_its_turns(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calling = [TURNS[0], {"role": "assistant", "content": None, "tool_calls": [CALL]}]
    answered = [
        {"role": "tool", "content": "Ada", "tool_call_id": "1"},
        {**TURNS[1], "reasoning_content": "So."},
    ]
    row = {"messages": [*calling, *answered], "system": "Be brief.", "tools": [{"name": "look_up"}], "id": 3}
    row["messages"][0] = {**TURNS[0], "when": "now"}
    file = rows(tmp_path / "a.jsonl", row)
    (found,) = load(file)
    assert capsys.readouterr().err == f"{file}: not read are the columns id, messages.when.\n"
    assert found.tools == [{"name": "look_up"}]
    read = {"type": "function", "function": {"name": "look_up", "arguments": {"person": "Ada"}}}
    assert found.messages == [
        {"role": "system", "content": "Be brief."},
        TURNS[0],
        {"role": "assistant", "content": "", "tool_calls": [read]},
        {"role": "tool", "content": "Ada", "tool_call_id": "1"},
        {**TURNS[1], "reasoning_content": "So."},
    ]
    assert found.with_answer("No.").messages[2] == {"role": "assistant", "content": "No."}
    assert found.with_answer("No.").turns[4] == ("assistant", "No.")


def test_weights_say_which_messages_are_answers(tmp_path: Path) -> None:
    for key, off, on in (("weight", 0, 1), ("train", False, True), ("weight", 0.0, 1.0)):
        (found,) = load(
            rows(
                tmp_path / "a.jsonl",
                {"messages": [*TURNS[:1], {**TURNS[1], key: off}, {**TURNS[1], key: on}]},
            )
        )
        assert found.answers == [2]
    assert "neither 0 nor 1" in sentence(
        rows(tmp_path / "b.jsonl", {"messages": [TURNS[0], {**TURNS[1], "weight": 0.5}]})
    )
    assert "no message of the assistant counts" in sentence(
        rows(tmp_path / "c.jsonl", {"messages": [TURNS[0], {**TURNS[1], "weight": 0}]})
    )


def test_the_hash_of_a_plain_conversation_is_what_it_was() -> None:
    assert repr(CHAT[0]) == "Conversation(turns=(('user', 'Who?'), ('assistant', 'Ada.')))"
    assert conversation(TURNS) == CHAT[0]
    assert repr(conversation([{**TURNS[0], "name": "Bo"}, TURNS[1]])) != repr(CHAT[0])


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({"content": None}, "message 2 has no content"),
        ({"content": 7}, "the content of message 2 is of type int, not text"),
        ({"content": {"text": "Ada."}}, "the content of message 2 is of type dict, not text"),
        ({"content": True}, "the content of message 2 is of type bool, not text"),
        (
            {"content": [{"type": "image_url", "image_url": "x"}]},
            "the content of message 2 holds a part of type 'image_url', not text",
        ),
        (
            {"content": [{"type": "text", "text": None}]},
            "the content of message 2 holds a part of type NoneType, not text",
        ),
        ({"content": [3]}, "the content of message 2 holds a part of type int, not text"),
        ({"role": "critic"}, "the role of message 2 is called 'critic', which no chat template knows"),
        ({"role": 3}, "the role of message 2 is of type int"),
        ({"function_call": {"name": "f"}}, "message 2 holds 'function_call', which is not read"),
        ({"tool_calls": [{"name": "f"}]}, "the `tool_calls` of message 2 name no functions"),
        ({"tool_calls": "f()"}, "the `tool_calls` of message 2 name no functions"),
        ({"reasoning_content": {"a": 1}}, "the content of message 2 is of type dict"),
    ],
)
def test_messages_that_are_no_text(tmp_path: Path, message: Any, reason: str) -> None:
    file = rows(tmp_path / "a.jsonl", {"messages": TURNS}, {"messages": [TURNS[0], {**TURNS[1], **message}]})
    assert f"{file}, row 2: of 'messages': {reason}" in sentence(file)


@pytest.mark.parametrize("given", [None, "user: Who?", 3, {"role": "user"}, ["Who?"], [[TURNS]]])
def test_messages_that_are_no_list(tmp_path: Path, given: Any) -> None:
    assert "of 'messages': there is no list of messages." in sentence(
        rows(tmp_path / "a.jsonl", {"messages": given})
    )


@pytest.mark.parametrize("value", [None, 3, 1.5, True, ["Ada."], {"text": "Ada."}])
@pytest.mark.parametrize("column", ["question", "answer"])
def test_answers_that_are_no_text(tmp_path: Path, column: str, value: Any) -> None:
    found = sentence(rows(tmp_path / "a.jsonl", {"question": "Who?", "answer": "Ada.", column: value}))
    assert f"the {column!r} is " in found
    assert "empty" in found if value is None else "not text" in found


def test_blank_texts_are_left_out_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = rows(tmp_path / "a.jsonl", {"text": "Ada."}, {"text": " "}, {"text": None})
    assert load(file) == [Text("Ada.")]
    assert f"{file}: 2 of 3 rows have a blank text and are left out." in capsys.readouterr().err
