"""A broken file is named in a sentence, whatever is wrong with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from expunge.errors import InputError
from expunge.intact import RESTORE, check_writable, read_intact, read_object
from expunge.storage import read_json, read_json_lines, write_json


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
