"""The challenge's sequences from npy and csv, texts to keep, and the sentence for whatever is wrong with a file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from expunge.benchmarks.tdec.files import (
    TokenSequence,
    forget_set,
    held_out_sequences,
    read_sequences,
    retain_texts,
)
from expunge.errors import InputError
from expunge.models.answers import IGNORED
from tdec_files import random_sequences, write_tdec


def ids_of(samples, encoder) -> list[list[int]]:
    return [example.input_ids for sample in samples for example in sample.encode(encoder)]


def test_the_three_parts_make_one_sequence_that_is_trained_on_as_it_is(tmp_path: Path, encoder) -> None:
    sequences = random_sequences(5, 60_000)
    folder = write_tdec(tmp_path, sequences)
    read = read_sequences(str(folder), "data.path")
    (example,) = read[3].encode(encoder)
    assert len(example) == 200 > encoder.max_length  # not cut
    assert example.input_ids == sequences[3].tolist()
    assert example.labels == [IGNORED, *sequences[3][1:].tolist()]
    np.save(tmp_path / "whole.npy", sequences)
    assert read_sequences(str(tmp_path / "whole.npy"), "data.path") == read


def test_of_the_challenges_files_in_one_folder_those_of_train_are_read(tmp_path: Path) -> None:
    folder = write_tdec(tmp_path, random_sequences(5, 60_000))
    alone = read_sequences(str(folder), "data.path")
    for split, rows in (("val", 3), ("test", 2)):  # `test` has no suffix: it was for the contestants to find
        for part, width in (("preprefix", 100), ("prefix", 50), ("suffix", 50))[: 3 if split == "val" else 2]:
            np.save(folder / f"{split}_{part}.npy", np.ones((rows, width), np.uint16))
    assert read_sequences(str(folder), "data.path") == alone
    for file in folder.glob("t*.npy"):
        file.unlink()
    assert len(read_sequences(str(folder), "data.path")) == 3


def test_forget_sets_follow_one_another(tmp_path: Path, encoder) -> None:
    sequences = random_sequences(5, 60_000)
    folder = str(write_tdec(tmp_path, sequences))
    assert ids_of(forget_set(folder, 1, 2, "data.path"), encoder) == sequences[2:4].tolist()
    assert ids_of(forget_set(folder, 2, 2, "data.path"), encoder) == sequences[4:].tolist()
    with pytest.raises(
        InputError, match=r"data\.path: .*5 sequences have no forget set 3 of 2\..* from 0 to 2"
    ):
        forget_set(folder, 3, 2, "data.path")


def test_texts_are_cut_to_200_tokens_without_special_ones(tmp_path: Path, encoder) -> None:
    long = " ".join(f"w{3 + number % 60}" for number in range(230))
    (tmp_path / "sequences.csv").write_text(f'doc_id,text\n7,"{long}"\n8,w5 w6 w7\n')
    samples = read_sequences(str(tmp_path / "sequences.csv"), "data.path")
    assert ids_of(samples, encoder) == [[3 + number % 60 for number in range(200)], [5, 6, 7]]


def test_texts_to_keep_are_rows_or_lines_and_blank_ones_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "wiki.txt").write_text(" = Title = \n\n A paragraph .\n \n")
    (tmp_path / "wiki.jsonl").write_text(
        "".join(json.dumps({"text": text}) + "\n" for text in ("a\nb", "", "c"))
    )
    (tmp_path / "parts.TXT").write_text("one\u2028two\nthree")
    parts = retain_texts(str(tmp_path / "parts.TXT"), "data.retain")
    assert [sample.text for sample in parts] == ["one\u2028two", "three"]
    lines = retain_texts(str(tmp_path / "wiki.txt"), "data.retain")
    assert [sample.text for sample in lines] == [" = Title = ", " A paragraph ."]
    assert [sample.text for sample in retain_texts(str(tmp_path / "wiki.jsonl"), "data.retain")] == [
        "a\nb",
        "c",
    ]


def test_held_out_text_gives_whole_stretches(tmp_path: Path, encoder) -> None:
    words = [f"w{3 + number % 60}" for number in range(450)]
    (tmp_path / "text.jsonl").write_text(
        "".join(json.dumps({"text": " ".join(part)}) + "\n" for part in (words, words[:199]))
    )
    found = held_out_sequences(str(tmp_path / "text.jsonl"), encoder, "--calibrate")
    ids = [3 + number % 60 for number in range(450)]
    assert found == [TokenSequence(tuple(ids[:200])), TokenSequence(tuple(ids[200:400]))]
    (tmp_path / "text.jsonl").write_text(json.dumps({"text": " ".join(words[:199])}))
    with pytest.raises(InputError, match="none of its 1 texts holds 200 tokens"):
        held_out_sequences(str(tmp_path / "text.jsonl"), encoder, "--calibrate")


def _save(name: str, array: np.ndarray) -> Callable[[Path], None]:
    return lambda folder: np.save(folder / name, array)


MALFORMED = {
    "missing": (lambda folder: (folder / "train_suffix.npy").unlink(), "one file suffix.npy of 50", "there is none"),
    "two": (
        _save("mine_suffix.npy", np.zeros((4, 50), np.uint16)),
        "one file suffix.npy",
        "mine_suffix.npy, train_suffix.npy",
    ),
    "width": (
        _save("train_prefix.npy", np.zeros((4, 49), np.int64)),
        "train_prefix.npy: its shape is (4, 49), not (sequences, 50)",
        "Give 50 token ids",
    ),
    "flat": (_save("train_prefix.npy", np.zeros(50, np.int64)), "its shape is (50,)", "Give 50"),
    "empty": (_save("train_prefix.npy", np.zeros((0, 50), np.int64)), "its shape is (0, 50)", "Give 50"),
    "floats": (_save("train_prefix.npy", np.zeros((4, 50))), "train_prefix.npy: it holds float64", "whole numbers"),
    "rows": (
        _save("train_prefix.npy", np.zeros((3, 50), np.int64)),
        "train_preprefix.npy has 4, train_prefix.npy has 3, train_suffix.npy has 4",
        "rows belong together",
    ),
    "negative": (
        _save("train_prefix.npy", np.arange(200).reshape(4, 50) - 60),
        "train_prefix.npy, row 1: it holds a negative number",
        "row 2: it holds a negative number",
    ),
    "pickle": (
        lambda folder: np.save(folder / "train_prefix.npy", np.array([{}], dtype=object), allow_pickle=True),
        "train_prefix.npy: it cannot be read as an array of numbers",
        "Save it anew",
    ),
    "not npy": (
        lambda folder: (folder / "train_prefix.npy").write_bytes(b""),
        "train_prefix.npy: it cannot be read",
        "Save it anew",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_arrays(tmp_path: Path, case: str) -> None:
    folder = write_tdec(tmp_path / "tdec", random_sequences(4, 60))
    spoil, *expected = MALFORMED[case]
    spoil(folder)
    with pytest.raises(InputError) as caught:
        read_sequences(str(folder), "data.path")
    for words in expected:
        assert words in str(caught.value)


def test_every_malformed_array_is_named_at_once(tmp_path: Path) -> None:
    folder = write_tdec(tmp_path / "tdec", random_sequences(4, 60))
    np.save(folder / "train_prefix.npy", np.zeros((4, 50)))
    np.save(folder / "train_suffix.npy", np.zeros((4, 51), np.int64))
    with pytest.raises(InputError) as caught:
        read_sequences(str(folder), "data.path")
    named = [Path(problem.where).name for problem in caught.value.problems]
    assert named == ["train_prefix.npy", "train_suffix.npy"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "doc_id,content\n1,abc\n",
            "table.csv, row 1: it has no column 'text' (columns: doc_id, content)",
        ),
        ("doc_id,text\n1,abc\n2,\n", "table.csv, row 2: its text is empty"),
        ("doc_id,text\n", "holds no rows"),
    ],
)
def test_malformed_tables(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "table.csv").write_text(content)
    with pytest.raises(InputError) as caught:
        read_sequences(str(tmp_path / "table.csv"), "data.path")
    assert expected in str(caught.value)
    with pytest.raises(InputError, match=r"data\.retain"):
        retain_texts(str(tmp_path / "nothing.txt"), "data.retain")


def test_what_is_no_text_is_told_from_a_missing_column(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"text": "a"}\n{"text": 5}\n{"content": "b"}\n')
    for read in (read_sequences, retain_texts):
        with pytest.raises(InputError) as caught:
            read(str(tmp_path / "rows.jsonl"), "data.path")
        assert [problem.reason for problem in caught.value.problems] == [
            "the 'text' is of type int, not text.", "it has no column 'text' (columns: content).",
        ]  # fmt: skip
        assert caught.value.problems[0].where == f"{tmp_path}/rows.jsonl, row 2"
