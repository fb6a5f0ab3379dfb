"""Writing files so that a kill at any moment never leaves half of one under its name.

Everything is written under a temporary name in the same folder, flushed to the disk, and renamed.

What quotes or scores single samples is `private`, for its owner's eyes alone, as safetensors writes weights by
itself: evaluation logs, samples of a model that has not forgotten yet, and the checkpoints' folder. Recipe, run.json,
metrics, report and model card hold sums and means and are made to be shown; they get the permissions that the user's
umask gives.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PARTIAL = ".partial"
#: The file in a folder by which one process at a time writes there (`folder/lock.py`).
LOCK = ".lock"
#: What the system says where a disk is full, a quota is used up, or a disk has become read-only.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
#: Bytes under which a disk counts as full.
LEAST_ROOM = 2**16
#: Records the SHA-256 of a folder's files, by their path in it, at the time of writing.
CHECKSUMS = "checksums.json"
#: The first key of a record that holds its own: the SHA-256 of the lines after that one.
CHECKSUM = "checksum"


def sync(path: Path) -> None:
    """Flush a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def no_room(error: BaseException, place: Path) -> str | None:
    """Why nothing more can be written at `place`, a sentence; None where `error` is about something else.

    safetensors and torch report a full disk in words of their own, so that the disk is asked too.
    """
    number = getattr(error, "errno", None)
    if number in _NO_ROOM or "os error 28" in str(error):
        return f"{os.strerror(number or errno.ENOSPC)}: {place}."
    nearest = next(folder for folder in (place, *place.absolute().parents) if folder.exists())
    if isinstance(error, OSError | RuntimeError) and shutil.disk_usage(nearest).free < LEAST_ROOM:
        return f"{os.strerror(errno.ENOSPC)}: {place}."
    return None


def is_taken(path: Path) -> bool:
    """Whether the path is a file, or a folder that holds more than its lock."""
    return path.is_file() or (path.is_dir() and any(entry.name != LOCK for entry in path.iterdir()))


@contextmanager
def atomic_file(path: Path, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path; when the block ends without an error it becomes `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}{PARTIAL}")
    if private:  # before the first byte is in it, and not one that a kill has left
        partial.unlink(missing_ok=True)
        partial.touch(mode=0o600, exist_ok=False)
    try:
        yield partial
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync(partial)
    os.replace(partial, path)
    sync(path.parent)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yield a fresh temporary folder; when the block ends without an error it becomes `path`, with its checksums.

    A folder that is there already under that name is replaced: it is set aside under another name until the new one
    is in its place.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}{PARTIAL}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    write_checksums(partial)
    for entry in partial.rglob("*"):
        sync(entry)
    sync(partial)
    replaced = path.with_name(f"{path.name}.replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if path.exists():
        os.replace(path, replaced)
    os.replace(partial, path)
    sync(path.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def file_checksum(file: Path) -> str:
    """SHA-256 of the file's bytes, in hexadecimal digits."""
    digest = hashlib.sha256()
    with file.open("rb") as content:
        while block := content.read(2**20):
            digest.update(block)
    return digest.hexdigest()


def write_checksums(folder: Path) -> None:
    """Record every file beneath `folder` in its `checksums.json`."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and file != folder / CHECKSUMS)
    sums = {file.relative_to(folder).as_posix(): file_checksum(file) for file in files}
    (folder / CHECKSUMS).write_text(json.dumps(sums, indent=2) + "\n", encoding="utf-8")


@contextmanager
def recorded(file: Path) -> Iterator[None]:
    """Record the checksum of `file`, which the block writes into a folder whose files come one after another.

    The old checksum goes before the old file does: after a kill in between, the file has no record.
    """
    _record(file, None)
    yield
    _record(file, file_checksum(file))


def _record(file: Path, checksum: str | None) -> None:
    record = file.with_name(CHECKSUMS)
    sums = read_json(record) if record.exists() else {}
    if sums.get(file.name) != checksum:
        others = {name: known for name, known in sums.items() if name != file.name}
        write_json(record, {**others, **({file.name: checksum} if checksum else {})}, private=True)


def write_text(path: Path, text: str, private: bool = False) -> None:
    with atomic_file(path, private) as partial:
        partial.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any, private: bool = False) -> None:
    write_text(path, _json(value), private)


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def write_record(path: Path, record: Mapping[str, Any], private: bool = False) -> None:
    """Write a JSON object that changes too often for a checksum beside it: its checksum is its first key.

    record: begins with its schema, and has more keys; a checksum that it holds already is another one's, and left out
    """
    lines = _json({key: value for key, value in record.items() if key != CHECKSUM}).removeprefix("{\n")
    write_text(path, _with_checksum(lines), private)


def is_as_recorded(path: Path) -> bool:
    """Whether a file is, byte for byte, what `write_record` wrote."""
    text = path.read_bytes().decode("utf-8")  # line ends as they are
    return text == _with_checksum(text.split("\n", 2)[-1])


def _with_checksum(lines: str) -> str:
    return f'{{\n  "{CHECKSUM}": "{hashlib.sha256(lines.encode()).hexdigest()}",\n{lines}'


def write_json_lines(path: Path, rows: Iterable[dict[str, Any]], private: bool = False) -> None:
    lines = (json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_text(path, "".join(lines), private)


def read_json_lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    # Not `splitlines`: it also parts at characters that JSON allows within a text, U+2028 say.
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]


def hash_files(files: Iterable[Path]) -> str:
    """A hash of the files' contents, whatever they are called, in the order of their names."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def hash_rows(rows: Iterable[Any]) -> str:
    """SHA-256 over the content of rows, independent of the file format that they came in."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row, sort_keys=True, ensure_ascii=False, default=str).encode())
        digest.update(b"\n")
    return digest.hexdigest()
