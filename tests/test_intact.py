"""A broken file is named in a sentence, whatever is wrong with it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from expunge.errors import InputError
from expunge.intact import RESTORE, check_folder, check_writable, read_intact, read_object
from expunge.storage import (
    CHECKSUMS,
    atomic_folder,
    read_json,
    read_json_lines,
    recorded,
    write_json,
    write_record,
)


def said(refused: pytest.ExceptionInfo[InputError], file: Path) -> str:
    (problem,) = refused.value.problems
    assert problem.where == str(file)
    assert problem.remedy == RESTORE
    return problem.reason


@pytest.mark.parametrize(
    ("reader", "content"),
    [
        (read_json, b'{"a": '),
        (read_json_lines, b'{"a": 1}\n{"a"'),
        (read_json, b'"\xff"'),
        (lambda file: yaml.safe_load(file.read_text(encoding="utf-8")), b"a: [1"),
        (load_file, b""),
        (load_file, b"garbage " * 100),
    ],
)
def test_damaged_content(reader, content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(InputError) as refused:
        read_intact(reader, tmp_path / "file")
    assert said(refused, tmp_path / "file").startswith("it cannot be read: ")


def test_tensors_that_are_cut_short(tmp_path: Path) -> None:
    save_file({"a": torch.arange(1000.0)}, tmp_path / "whole")
    assert torch.equal(read_intact(load_file, tmp_path / "whole")["a"], torch.arange(1000.0))
    (tmp_path / "cut").write_bytes((tmp_path / "whole").read_bytes()[:-1])
    with pytest.raises(InputError) as refused:
        read_intact(load_file, tmp_path / "cut")
    assert said(refused, tmp_path / "cut").startswith("it cannot be read: ")


def test_a_missing_file_and_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read_intact(read_json, tmp_path / "file")
    assert said(refused, tmp_path / "file") == "it is missing."
    with pytest.raises(InputError) as refused:
        read_intact(read_json, tmp_path)
    assert said(refused, tmp_path) == "it cannot be read: Is a directory."


def test_an_object_is_of_its_kind_and_whole(tmp_path: Path) -> None:
    file = tmp_path / "file"
    whole = {"schema": "expunge.thing/1", "a": 1, "b": None}
    write_json(file, whole)
    assert read_object(file, "a thing", ("a", "b"), schema="expunge.thing/1") == whole
    for schema, keys, reason in (
        (
            "expunge.thing/2",
            ("a",),
            "it is not a thing: its schema is 'expunge.thing/1', not 'expunge.thing/2'.",
        ),
        (None, ("a", "c", "d"), "it lacks c, d."),
    ):
        with pytest.raises(InputError) as refused:
            read_object(file, "a thing", keys, schema=schema)
        assert said(refused, file) == reason
    write_json(file, [whole])
    with pytest.raises(InputError) as refused:
        read_object(file, "a thing", ())
    assert said(refused, file) == "it is not a thing."


def test_every_flipped_bit_of_a_record_is_found(tmp_path: Path) -> None:
    """Also one in the checksum, in its name, and in the last of 17 digits, which gives the same number."""
    file = tmp_path / "thing.json"
    record = {"schema": "expunge.thing/1", "a": 0.30000000000000004, "b": "é", "c": [1e-05]}
    write_record(file, record)
    whole = file.read_bytes()
    assert read_object(file, "a thing", ("a",), schema="expunge.thing/1") == record
    assert json.loads("0.30000000000000005") == record["a"]
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        file.write_bytes(changed)
        with pytest.raises(InputError) as refused:
            read_object(file, "a thing", ("a",), schema="expunge.thing/1")
        assert [problem.where for problem in refused.value.problems] == [str(file)]


def test_a_record_that_was_changed_by_hand(tmp_path: Path) -> None:
    """It is refused, with what to do where that was meant; a record of before there was a checksum is read."""
    file = tmp_path / "thing.json"
    write_record(file, {"schema": "expunge.thing/1", "a": 1})
    first, checksum, *rest = file.read_text().splitlines(keepends=True)
    assert checksum.split('"')[3] == hashlib.sha256("".join(rest).encode()).hexdigest()
    by_hand = [line.replace("1,", "2,").replace(": 1", ": 2") for line in rest]
    file.write_text("".join([first, checksum, *by_hand]))
    with pytest.raises(InputError) as refused:
        read_object(file, "a thing", (), schema="expunge.thing/1")
    assert str(refused.value.problems[0]) == (
        f"{file}: it is not as it was written: its SHA-256 is not the one that it begins with. {RESTORE} "
        "Who has changed it by hand, and means it, deletes the line 'checksum'."
    )
    file.write_text("".join([first, *by_hand]))
    assert read_object(file, "a thing", (), schema="expunge.thing/1")["a"] == 2


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    """Beneath a file nothing can lie; that folders on the way are missing is no fault."""
    check_writable(tmp_path / "new" / "deeper" / "log.json", "--output")
    check_writable(tmp_path, "--output")
    (tmp_path / "file").write_text("mine")
    check_writable(tmp_path / "file", "--output")
    with pytest.raises(InputError) as refused:
        check_writable(tmp_path / "file" / "deeper" / "log.json", "--output")
    (problem,) = refused.value.problems
    assert problem.where == "--output"
    assert f"'{tmp_path / 'file'}' is a file" in problem.reason
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_to(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="may not be written to"):
            check_writable(tmp_path / "log.json", "--output")
    finally:
        tmp_path.chmod(0o700)


def flipped(file: Path, place: int) -> bytes:
    """Change one bit of one byte of the file; returns what it was."""
    whole = file.read_bytes()
    changed = bytearray(whole)
    changed[place] ^= 1
    file.write_bytes(changed)
    return whole


def reasons(refusal: Callable[[], Any]) -> dict[str, str]:
    with pytest.raises(InputError) as refused:
        refusal()
    return {problem.where: problem.reason for problem in refused.value.problems}


def test_any_flipped_bit_of_a_folder_that_was_written_whole_is_named(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with atomic_folder(folder) as partial:
        (partial / "beneath").mkdir()
        (partial / "a.json").write_text('{"a": 10}')
        (partial / "beneath" / "b.txt").write_text("text")
    check_folder(folder)
    assert read_intact(read_json, folder / "a.json") == {"a": 10}
    known = hashlib.sha256(b"text").hexdigest()
    assert read_json(folder / CHECKSUMS)["beneath/b.txt"] == known
    changed = "it is not as it was written: its SHA-256 is not the one in checksums.json."
    for name in ("a.json", "beneath/b.txt"):
        for place in range((folder / name).stat().st_size):
            whole = flipped(folder / name, place)
            assert reasons(lambda: check_folder(folder)) == {str(folder / name): changed}
            (folder / name).write_bytes(whole)
    (folder / "a.json").write_text('{"a": 11}')
    (folder / "beneath" / "b.txt").unlink()
    assert reasons(lambda: read_intact(read_json, folder / "a.json")) == {str(folder / "a.json"): changed}
    assert reasons(lambda: check_folder(folder)) == {
        str(folder / "a.json"): changed, str(folder / "beneath" / "b.txt"): "it is missing.",
    }  # fmt: skip
    (folder / CHECKSUMS).write_text("{")
    assert reasons(lambda: read_intact(read_json, folder / "a.json")).keys() == {str(folder / CHECKSUMS)}
    of_others = ("[]", '{"a.json": "0cc175b9c0f1b6a831c399e269772661", "files": {"a.json": 1}}', None)
    for content in of_others:  # None: as version 0.1.0 wrote it
        (folder / CHECKSUMS).unlink()
        if content:
            (folder / CHECKSUMS).write_text(content)
        check_folder(folder)
        assert read_intact(read_json, folder / "a.json") == {"a": 11}


def test_a_kill_while_a_recorded_file_is_written_accuses_nobody(tmp_path: Path) -> None:
    file = tmp_path / "log.json"
    for content in (1, 2):
        with recorded(file):
            write_json(file, content)
        check_folder(tmp_path)

    def killed(*written: int) -> None:
        with recorded(file):
            for content in written:
                write_json(file, content)
            raise KeyboardInterrupt

    for written in ((), (3,)):
        with pytest.raises(KeyboardInterrupt):
            killed(*written)
        check_folder(tmp_path)
    with recorded(tmp_path / "other.json"), recorded(file):
        write_json(file, 4)
        write_json(tmp_path / "other.json", 5)
    assert read_json(tmp_path / CHECKSUMS).keys() == {"log.json", "other.json"}
    write_json(file, 6)
    assert reasons(lambda: read_intact(read_json, file)).keys() == {str(file)}
