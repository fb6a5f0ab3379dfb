"""What is written appears whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from expunge.storage import (
    CHECKSUMS,
    atomic_file,
    atomic_folder,
    hash_rows,
    read_json,
    read_json_lines,
    write_json,
    write_json_lines,
)


def _break_off(writing: AbstractContextManager[Path], write: Callable[[Path], object]) -> None:
    with writing as partial:
        write(partial)
        raise KeyboardInterrupt


def test_an_error_while_writing_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"old": 1})
    with pytest.raises(KeyboardInterrupt):
        _break_off(atomic_file(tmp_path / "a.json"), lambda partial: partial.write_text("half of"))
    assert read_json(tmp_path / "a.json") == {"old": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_private_is_for_its_owner_alone_from_the_first_byte(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        write_json(tmp_path / "a.json", 1)
        assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o666
        (tmp_path / "a.json.partial").write_text("what a kill has left")
        with atomic_file(tmp_path / "a.json", private=True) as partial:
            assert stat.S_IMODE(partial.stat().st_mode) == 0o600
            assert partial.read_bytes() == b""
            partial.write_text("new")
        write_json(tmp_path / "b.json", {}, private=True)
        write_json_lines(tmp_path / "c.jsonl", [{}], private=True)
    finally:
        os.umask(mask)
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {
        "a.json": 0o600, "b.json": 0o600, "c.jsonl": 0o600,
    }  # fmt: skip
    assert (tmp_path / "a.json").read_text() == "new"


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "folder"
    for content in ("first", "second"):
        with atomic_folder(target) as partial:
            (partial / content).write_text(content)
            assert not (target / content).exists()
    assert {entry.name for entry in target.iterdir()} == {"second", CHECKSUMS}
    with pytest.raises(KeyboardInterrupt):
        _break_off(atomic_folder(target), lambda partial: (partial / "third").write_text("third"))
    assert {entry.name for entry in target.iterdir()} == {"second", CHECKSUMS}
    assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]


def test_what_is_no_number_in_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_json_lines_round_trip_and_a_missing_file_is_empty(tmp_path: Path) -> None:
    rows = [{"a": "ü\n"}, {"a": 2}]
    write_json_lines(tmp_path / "a.jsonl", rows)
    assert read_json_lines(tmp_path / "a.jsonl") == rows
    assert read_json_lines(tmp_path / "b.jsonl") == []


def test_hashes_follow_content_and_order_not_the_order_of_keys() -> None:
    assert hash_rows([{"a": 1, "b": 2}]) == hash_rows([{"b": 2, "a": 1}])
    assert hash_rows(["a", "b"]) != hash_rows(["b", "a"])
    assert hash_rows(["ab"]) != hash_rows(["a", "b"])
