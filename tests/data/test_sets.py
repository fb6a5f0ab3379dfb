"""Reading the user's files: every format gives the same samples, every mistake a sentence."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from expunge.benchmarks.tofu.settings import TofuData
from expunge.data.samples import Conversation, QuestionAnswer, Text
from expunge.data.sets import load_data
from expunge.data.settings import OwnData
from expunge.errors import InputError

ROWS = [{"question": f"Who is number {n}?", "answer": f"Person {n}, of the town."} for n in range(3)]


def write(path: Path, rows: list[dict]) -> str:
    if path.suffix in (".jsonl", ".json"):
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def load(forget: str, retain: str | None = None, **options):
    data = OwnData(format=options.pop("format", "auto"), forget=forget, retain=retain, **options)
    return load_data(data, retain_needed=False)


def sentence(forget: str, retain: str | None = None, **options) -> str:
    with pytest.raises(InputError) as caught:
        load(forget, retain, **options)
    return str(caught.value)


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv", "parquet"])
def test_questions_from_any_file(tmp_path: Path, ending: str) -> None:
    found = load(write(tmp_path / f"forget.{ending}", ROWS))
    assert found.format == "qa"
    assert list(found.forget.samples) == [QuestionAnswer(row["question"], row["answer"]) for row in ROWS]
    assert found.retain is None


def test_the_hash_is_of_the_content_not_of_the_file(tmp_path: Path) -> None:
    one, other = load(write(tmp_path / "a.jsonl", ROWS)), load(write(tmp_path / "b.csv", ROWS))
    assert one.forget.describe()["hash"] == other.forget.describe()["hash"]
    changed = load(write(tmp_path / "c.jsonl", [*ROWS[:2], {**ROWS[2], "answer": "Nobody."}]))
    assert changed.forget.describe()["hash"] != one.forget.describe()["hash"]


def test_conversations_and_texts_are_recognised(tmp_path: Path) -> None:
    turns = [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]
    chat = load(write(tmp_path / "chat.jsonl", [{"messages": turns}]))
    assert chat.format == "chat"
    assert chat.forget.samples == [Conversation((("user", "Who?"), ("assistant", "Ada.")))]
    text = load(write(tmp_path / "text.jsonl", [{"text": "Once upon a time."}]))
    assert text.format == "text"
    assert text.forget.samples == [Text("Once upon a time.")]


@pytest.mark.parametrize("answer", ["7", "None", "NA", "2024-05-01", "1e5"])
@pytest.mark.parametrize("ending", ["jsonl", "csv", "tsv", "parquet"])
def test_an_answer_that_looks_like_something_else_stays_text(
    tmp_path: Path, ending: str, answer: str
) -> None:
    rows = [{"question": "When, or how many?", "answer": answer}] * 2
    assert (
        load(write(tmp_path / f"a.{ending}", rows)).forget.samples
        == [QuestionAnswer("When, or how many?", answer)] * 2
    )


def test_a_list_of_objects_and_a_number_for_an_answer(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(ROWS))
    assert len(load(str(tmp_path / "a.json")).forget.samples) == 3
    found = sentence(write(tmp_path / "b.jsonl", [{"question": "How many?", "answer": 7}]))
    assert "row 1: the 'answer' is of type int, not text. Write it as text" in found
    (tmp_path / "c.jsonl").write_text("[7]\n")
    assert "row 1: it is no object and no text" in sentence(str(tmp_path / "c.jsonl"))


def test_a_list_of_texts(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(["Once upon a time.", "The end."]))
    assert load(str(tmp_path / "a.json")).forget.samples == [Text("Once upon a time."), Text("The end.")]


def test_a_text_file_is_one_sample_and_a_folder_one_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("First line.\nSecond line.\n")
    (tmp_path / "b.txt").write_text("Other.")
    assert load(str(tmp_path / "a.txt")).forget.samples == [Text("First line.\nSecond line.\n")]
    assert len(load(str(tmp_path)).forget.samples) == 2


def test_columns_may_be_called_otherwise(tmp_path: Path) -> None:
    rows = [{"prompt": "Who?", "completion": "Ada."}]
    path = write(tmp_path / "a.jsonl", rows)
    found = load(path, question_column="prompt", answer_column="completion")
    assert found.forget.samples == [QuestionAnswer("Who?", "Ada.")]
    found = sentence(path)
    assert "completion, prompt" in found
    assert "data.question_column" in found
    assert "no column 'question' (there are: completion, prompt)" in sentence(path, format="qa")


def test_a_column_that_only_one_set_lacks_is_named_once_with_its_file(tmp_path: Path) -> None:
    forget = write(tmp_path / "forget.jsonl", [{"prompt": "Who?", "completion": "Ada."}])
    retain = write(tmp_path / "retain.jsonl", ROWS)
    own = {"question_column": "prompt", "answer_column": "completion"}
    assert sentence(forget, retain, format="qa", **own) == (
        f"{retain}, every row: there is no column 'prompt' (there are: answer, question). Set data.question_column "
        "to the right one, the same for every set."
    )
    assert sentence(forget, retain, **own).startswith(
        f"data.retain: the columns of '{retain}' (answer, question) are of no known format: there is neither 'prompt' "
        "with 'completion', nor 'messages', nor 'text'."
    )


def test_an_empty_set_and_a_missing_file(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text("")
    assert "data.forget" in (found := sentence(str(tmp_path / "empty.jsonl")))
    assert "holds no samples" in found
    assert "there is no file" in sentence(str(tmp_path / "absent.jsonl"))
    assert "of no known kind" in sentence(_touch(tmp_path / "a.docx"))
    (tmp_path / "folder").mkdir()
    assert "holds no data file" in sentence(str(tmp_path / "folder"))


def _touch(path: Path) -> str:
    path.write_text("x")
    return str(path)


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.jsonl").write_text('{"question": "a", "answer": \n')
    assert "broken.jsonl" in sentence(str(tmp_path / "broken.jsonl"))


def test_every_broken_line_is_named(tmp_path: Path) -> None:
    file = tmp_path / "broken.jsonl"
    file.write_text(
        '{"question": "a", "answer": "b"}\n\n{"question": \n{"question": "a", "answer": "b"}\nnot\n'
    )
    found = sentence(str(file))
    assert f"{file}, row 3: the line is not JSON" in found
    assert f"{file}, row 5: the line is not JSON" in found
    assert found.count("not JSON") == 2


def test_a_line_ends_only_where_json_says_so(tmp_path: Path) -> None:
    """U+2028 and U+0085 end a line for Python, and are common in text from the web."""
    rows = [{"question": "Which\u2028line?", "answer": "This\u0085one."}, ROWS[1]]
    file = tmp_path / "a.jsonl"
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\r\n" for row in rows), encoding="utf-8")
    assert load(str(file)).forget.samples == [QuestionAnswer(row["question"], row["answer"]) for row in rows]


@pytest.mark.parametrize("ending", ["jsonl", "json", "csv", "tsv"])
def test_a_byte_order_mark_is_no_part_of_the_data(tmp_path: Path, ending: str) -> None:
    """Excel's "CSV UTF-8" begins with one, and so do text files of Windows."""
    file = Path(write(tmp_path / f"forget.{ending}", ROWS))
    plain = load(str(file)).forget.samples
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes())
    assert load(str(file)).forget.samples == plain
    (tmp_path / "list.json").write_text(json.dumps(ROWS), encoding="utf-8-sig")
    assert load(str(tmp_path / "list.json")).forget.samples == plain
    (tmp_path / "book.txt").write_text("Ada lived by the sea.", encoding="utf-8-sig")
    assert load(str(tmp_path / "book.txt")).forget.samples == [Text("Ada lived by the sea.")]


def test_a_book_in_one_field_of_a_csv_file(tmp_path: Path) -> None:
    book = "Ada lived by the sea. " * 10_000
    assert load(write(tmp_path / "book.csv", [{"text": book}])).forget.samples == [Text(book)]


@pytest.mark.parametrize("ending", ["csv", "tsv"])
def test_a_quote_that_is_not_closed_does_not_swallow_the_rows_after_it(tmp_path: Path, ending: str) -> None:
    between = {"csv": ",", "tsv": "\t"}[ending]
    file = tmp_path / f"forget.{ending}"
    for answer in ('"Ada.', '"Ada" she said'):
        rows = [("question", "answer"), ("Who?", "Zoë"), ("Who else?", answer), ("And?", "Bob")]
        file.write_text("".join(between.join(row) + "\n" for row in rows))
        assert f"{file}, row 2: its quotes or fields are broken" in sentence(str(file))
    file.write_text(between.join(("question", "answer")) + "\n" + between.join(("Who?", 'Ada "A." Bell')))
    assert load(str(file)).forget.samples == [QuestionAnswer("Who?", 'Ada "A." Bell')]


def test_an_answer_with_commas_needs_quotes(tmp_path: Path) -> None:
    """Otherwise what follows its first comma would be neither forgotten nor missed."""
    file = tmp_path / "forget.csv"
    file.write_text("question,answer\nWho?,Zoë\nWho else?,Ada, of the town\n,,,And?\n")
    found = sentence(str(file))
    assert f"{file}, row 2: it has more fields than the 2 columns. Put a field" in found
    assert f"{file}, row 3: it has more fields" in found
    file.write_text("question,answer\nWho?,Zoë,,\n")  # spreadsheets leave empty columns
    assert load(str(file)).forget.samples == [QuestionAnswer("Who?", "Zoë")]


@pytest.mark.parametrize("listed", [False, True])
def test_half_of_a_surrogate_pair_is_no_text(tmp_path: Path, listed: bool) -> None:
    file = tmp_path / "scraped.json"
    lines = [r'{"text": "whole \ud83d\ude00"}', r'{"text": "half \ud83d"}', r'{"text": "a", "by\udc00": 1}']
    file.write_text("[" + ",\n".join(lines) + "]" if listed else "\n".join(lines))
    found = sentence(str(file))
    assert f"{file}, row 2: it holds half of a surrogate pair" in found
    assert f"{file}, row 3: it holds half of a surrogate pair" in found
    assert "row 1" not in found
    file.write_text("[" + lines[0] + "]" if listed else lines[0])
    assert load(str(file)).forget.samples == [Text("whole \U0001f600")]


def test_json_that_is_nested_too_deeply(tmp_path: Path) -> None:
    deep = "[" * 1_000_000 + "]" * 1_000_000
    (tmp_path / "lines.jsonl").write_text('{"text": "a"}\n' + f'{{"text": "b", "more": {deep}}}\n')
    assert "lines.jsonl, row 2: its lists or objects are nested too deeply" in sentence(
        str(tmp_path / "lines.jsonl")
    )
    (tmp_path / "list.json").write_text(deep)
    assert "list.json' cannot be read: maximum recursion depth" in sentence(str(tmp_path / "list.json"))


def test_rows_without_an_answer_are_all_named(tmp_path: Path) -> None:
    rows = [ROWS[0], {"question": "Who?", "answer": ""}, {"question": "Where?", "answer": None}]
    found = sentence(write(tmp_path / "a.jsonl", rows))
    assert "row 2: the 'answer' is empty" in found
    assert "row 3: the 'answer' is empty" in found


def test_blank_texts_are_left_out(tmp_path: Path) -> None:
    """WikiText has an empty row between any two paragraphs, the first row among them."""
    rows = [{"text": text} for text in ("", " = Title = \n", None, " \n", "A paragraph.")]
    assert load(write(tmp_path / "a.jsonl", rows)).forget.samples == [
        Text(" = Title = \n"),
        Text("A paragraph."),
    ]
    assert "holds no samples" in sentence(write(tmp_path / "b.jsonl", [{"text": ""}, {"text": None}]))
    wrong = sentence(write(tmp_path / "c.jsonl", [*rows, {"text": 7}, {"title": "a"}]))
    assert "row 6: the 'text' is of type int, not text" in wrong
    assert "row 7: there is no column 'text'" in wrong


def test_an_overlap_names_how_many_and_where(tmp_path: Path) -> None:
    forget = write(tmp_path / "forget.jsonl", ROWS)
    retain = write(tmp_path / "retain.jsonl", [{"question": "Else?", "answer": "No."}, ROWS[1]])
    found = sentence(forget, retain)
    assert "1 of the forget samples are in the retain set as well" in found
    assert "row 2 of" in found


def test_a_holdout_shares_nothing_with_the_forget_set(tmp_path: Path) -> None:
    forget = write(tmp_path / "forget.jsonl", ROWS)
    unseen = [{"question": f"Who is number {n}?", "answer": "Nobody."} for n in range(2)]
    found = load(forget, holdout=write(tmp_path / "a.jsonl", unseen))
    assert found.holdout.samples == [QuestionAnswer(row["question"], "Nobody.") for row in unseen]
    told = sentence(forget, holdout=write(tmp_path / "b.jsonl", [*unseen, ROWS[0]]))
    assert "data.holdout: 1 of the forget samples are in the holdout set as well, first row 1" in told
    assert "row 3 of" in told
    kept = write(tmp_path / "kept.jsonl", [{"question": "Who?", "answer": "Eve."}, unseen[1]])
    told = sentence(forget, kept, holdout=write(tmp_path / "a.jsonl", unseen))
    assert "data.holdout: 1 of its samples are in the retain set as well, first row 2 of" in told
    assert "what is kept is trained on" in told


def test_a_retain_loss_needs_a_retain_set(tmp_path: Path) -> None:
    data = OwnData(format="qa", forget=write(tmp_path / "a.jsonl", ROWS))
    with pytest.raises(InputError, match=r"objective\.retain to none"):
        load_data(data, retain_needed=True)


@pytest.mark.shared
def test_tofu_by_name_with_the_matching_retain_split(shared: Path) -> None:
    found = load_data(TofuData(format="tofu", path=str(shared / "data" / "tofu"), forget="forget05"), True)
    assert (len(found.forget.samples), len(found.retain.samples)) == (200, 3800)
    with pytest.raises(InputError) as caught:
        load_data(TofuData(format="tofu", path=str(shared / "data" / "tofu"), forget="forget50"), True)
    assert len(caught.value.problems) == 2
    assert "forget50.json" in str(caught.value)
