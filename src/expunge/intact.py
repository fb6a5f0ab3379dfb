"""Checks of files and places. A missing, damaged or cut file, or one that cannot be written, gets a sentence."""

from __future__ import annotations

import os
import reprlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from yaml import YAMLError

from .errors import InputError, Problem
from .storage import CHECKSUM, CHECKSUMS, file_checksum, is_as_recorded, read_json

#: The way out where a file of a run is broken: nothing else can tell what stood in it.
RESTORE = "Restore the file, or run the recipe again with another --output."

Content = TypeVar("Content")


def read_intact(reader: Callable[[Path], Content], file: Path, remedy: str = RESTORE) -> Content:
    """Read `file` by `reader` and return the result.

    Raises `InputError` where the file is missing, cannot be read, is no whole text, JSON, YAML or safetensors, or
    is not as it was written (see `check_file`).
    """
    content = _read(reader, file, remedy)
    check_file(file, remedy)
    return content


def _read(reader: Callable[[Path], Content], file: Path, remedy: str) -> Content:
    try:
        return reader(file)
    except FileNotFoundError:
        raise broken(file, "it is missing", remedy) from None
    except (OSError, ValueError, YAMLError, SafetensorError) as error:  # JSON's and Unicode's are ValueErrors
        reason = getattr(error, "strerror", None) or str(error)
        raise broken(file, f"it cannot be read: {' '.join(reason.split()).rstrip('.')}", remedy) from None


def read_object(
    file: Path, what: str, keys: Sequence[str], remedy: str = RESTORE, *, schema: str | None = None
) -> dict[str, Any]:
    """The JSON object in `file`, without the checksum that `write_record` puts before it.

    what:   what messages call the object
    keys:   the keys that it has at least
    schema: the value of its key `schema`, where it has one

    Raises `InputError` as `read_intact` does, where the file holds something else or the object lacks a key, and where
    a record is not as it was written. A record that begins with its schema passes: version 0.1.0 wrote such.
    """
    content = read_intact(read_json, file, remedy)
    if not isinstance(content, dict):
        raise broken(file, f"it is not {what}{f' ({schema})' if schema else ''}", remedy)
    if schema is not None and content.get("schema") != schema:
        other = reprlib.repr(content.get("schema"))
        raise broken(file, f"it is not {what}: its schema is {other}, not {schema!r}", remedy)
    if schema is not None and next(iter(content)) != "schema" and not is_as_recorded(file):
        raise broken(
            file,
            "it is not as it was written: its SHA-256 is not the one that it begins with",
            f"{remedy} Who has changed it by hand, and means it, deletes the line {CHECKSUM!r}.",
        )
    content.pop(CHECKSUM, None)
    missing = [key for key in keys if key not in content]
    if missing:
        raise broken(file, f"it lacks {', '.join(missing)}", remedy)
    return content


def check_file(file: Path, remedy: str = RESTORE) -> None:
    """Raise `InputError` where `checksums.json` beside `file` records another content of it.

    A file without a record passes: version 0.1.0 and other tools write such files.
    """
    recorded = _checksums(file.parent, remedy).get(file.name)
    if recorded is not None and recorded != file_checksum(file):
        raise _changed(file, remedy)


def check_folder(folder: Path, remedy: str = RESTORE) -> None:
    """Raise `InputError` with every file that the folder's `checksums.json` records and that is missing or was changed.
    Files without a record pass."""
    problems = []
    for name, recorded in _checksums(folder, remedy).items():
        file = folder / name
        if not file.is_file():
            problems += broken(file, "it is missing", remedy).problems
        elif recorded != file_checksum(file):
            problems += _changed(file, remedy).problems
    if problems:
        raise InputError(problems)


def _checksums(folder: Path, remedy: str) -> dict[str, str]:
    """{file: SHA-256} from the record; {} from other tools' files of that name, which hold other sums."""
    record = folder / CHECKSUMS
    sums = _read(read_json, record, remedy) if record.is_file() else {}
    known = sums.items() if isinstance(sums, dict) else ()
    return {name: checksum for name, checksum in known if isinstance(checksum, str) and len(checksum) == 64}


def _changed(file: Path, remedy: str) -> InputError:
    return broken(file, f"it is not as it was written: its SHA-256 is not the one in {CHECKSUMS}", remedy)


def check_writable(path: Path, where: str) -> None:
    """Refuse a `path` that cannot be written, before work is done whose result would have no place.

    Raises `InputError` naming `where` for a path beneath a file, or beneath a folder that may not be written to.
    """
    folder = path if path.is_dir() else path.parent
    nearest = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not nearest.is_dir():
        reason = "is a file"
    elif not os.access(nearest, os.W_OK | os.X_OK):
        reason = "may not be written to"
    else:
        return
    raise InputError(
        Problem(where, f"{str(path)!r} has no place: {str(nearest)!r} {reason}.", "Name another.")
    )


def broken(file: Path, reason: str, remedy: str = RESTORE) -> InputError:
    """The error that names `file`; `reason` has no full stop."""
    return InputError(Problem(str(file), f"{reason}.", remedy))
