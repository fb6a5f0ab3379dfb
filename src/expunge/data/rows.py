"""Rows of a data set from wherever the user keeps them: a file, a folder of files, or the hub.

Local files are read directly, not by the datasets library: it would leave an Arrow copy of what must be forgotten in
its cache, take a column of dates for time stamps, and an answer `None` for a missing one.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem

Row = dict[str, Any]

#: Broken lines of one file that are listed.
LISTED = 10
#: UTF-8, with the byte order mark that Excel and others put before it or without.
ENCODING = "utf-8-sig"
#: Characters of a field of a csv file, which may be a book; the module's own limit is 131,072. The most it takes.
LONGEST_FIELD = 2**31 - 1

#: What makes a row of a csv file whole again.
QUOTING = (
    "Put a field that holds a separator, a quote or a line break in quotes, and double the quotes in it."
)

#: File ending → what reads it; filled below.
READERS: dict[str, Callable[[Path], list[Any]]] = {}


class Unreachable(InputError):
    """A data set that the hub does not have or that cannot be asked for, whichever split of it is wanted."""


def read_rows(source: str, key: str) -> list[Row]:
    """All rows of `source` as dictionaries.

    source: a jsonl, json, csv, tsv, parquet or txt file (a txt file is one row), a folder of such files of one
            kind, or a data set on the hub as `organisation/name:split` or `organisation/name:configuration:split`
    key:    the recipe key that names it, for messages

    Raises `InputError` where there is nothing to read, or it cannot be read; `Unreachable` where no other split of a
    data set on the hub can be either.
    """
    path = Path(source)
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in READERS)
        if not files:
            raise InputError(
                Problem(key, f"the folder {source!r} holds no data file.", f"Put {_endings()} files there.")
            )
    elif path.is_file():
        files = [path]
    elif ":" in source:
        return _read_hub(source, key)
    else:
        raise InputError(
            Problem(key, f"there is no file {source!r}.",
                    f"Name a {_endings()} file, a folder of them, or a hub data set as organisation/name:split.")
        )  # fmt: skip
    return [row for file in files for row in _read_file(file, key)]


def read_file(file: Path, key: str) -> list[Any]:
    """What one file holds, row by row, whatever a row is. Raises `InputError` where it cannot be read."""
    if file.suffix not in READERS:
        raise InputError(Problem(key, f"{str(file)!r} is of no known kind.", f"Use one of {_endings()}."))
    try:
        return READERS[file.suffix](file)
    except (OSError, ValueError, RecursionError) as error:  # pyarrow's errors are among these
        raise InputError(
            Problem(key, f"{str(file)!r} cannot be read: {_in_a_line(error)}.", "Correct the file.")
        ) from error


def _read_file(file: Path, key: str) -> list[Row]:
    rows = [{"text": row} if isinstance(row, str) else row for row in read_file(file, key)]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InputError(
                Problem(f"{file}, row {number}", "it is no object and no text.", "Write one object a line.")
            )
    return rows


def _read_json(file: Path) -> list[Any]:
    """An object a line, or one list of objects; a text stands for an object with nothing else."""
    text = file.read_text(encoding=ENCODING)
    problems: list[Problem] = []
    if text.lstrip().startswith("["):
        rows = dict(enumerate(json.loads(text), start=1))
    else:
        rows = {}
        # Not `splitlines`: it also parts at characters that JSON allows within a text, U+2028 say.
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                rows[number] = json.loads(line)
            except json.JSONDecodeError as error:
                reason = f"the line is not JSON ({error.msg})."
                problems.append(Problem(f"{file}, row {number}", reason, "Write one JSON object a line."))
            except RecursionError:
                reason = "its lists or objects are nested too deeply to be read."
                problems.append(Problem(f"{file}, row {number}", reason, "Leave out what is nested."))
    problems += [
        Problem(f"{file}, row {number}",
                "it holds half of a surrogate pair (an escape such as \\ud83d alone), which no text can hold.",
                "Write the whole character, or take the escape out.")
        for number, row in rows.items()
        if not _can_be_written(row)
    ]  # fmt: skip
    if problems:
        raise InputError(problems[:LISTED])
    return list(rows.values())


def _can_be_written(row: Any) -> bool:
    """Whether all text in the row can be encoded: JSON's escapes can also write halves of characters."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_csv(file: Path) -> list[Row]:
    """Every field as text: `7` is an answer, and so is `None`."""
    csv.field_size_limit(LONGEST_FIELD)
    rows: list[Row] = []
    problems: list[Problem] = []
    with file.open(encoding=ENCODING, newline="") as lines:
        # Strict, as a quote that is never closed would make one field of the rest of the file.
        reader = csv.DictReader(lines, delimiter="\t" if file.suffix == ".tsv" else ",", strict=True)
        try:
            for row in reader:
                rows.append(row)
                if any(row.pop(None, ())):  # what no column is there for
                    reason = f"it has more fields than the {len(reader.fieldnames or ())} columns."
                    problems.append(Problem(f"{file}, row {len(rows)}", reason, QUOTING))
        except csv.Error as error:
            reason = f"its quotes or fields are broken ({error})."
            problems.append(Problem(f"{file}, row {len(rows) + 1}", reason, QUOTING))
    if problems:
        raise InputError(problems[:LISTED])
    return rows


def _read_parquet(file: Path) -> list[Row]:
    from pyarrow.parquet import read_table

    return read_table(file).to_pylist()


def _read_text(file: Path) -> list[Row]:
    return [{"text": text}] if (text := file.read_text(encoding=ENCODING)).strip() else []


READERS |= {
    ".csv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".parquet": _read_parquet,
    ".tsv": _read_csv,
    ".txt": _read_text,
}


def _read_hub(source: str, key: str) -> list[Row]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError

    name, *configuration, split = source.split(":")
    try:
        return [dict(row) for row in load_dataset(name, *configuration, split=split)]
    except (ConnectionError, DatasetNotFoundError) as error:
        raise Unreachable(
            Problem(key, f"there is no folder {name!r}, and no data set of that name could be had from the hub: "
                    f"{_in_a_line(error)}.",
                    "Check the name and the connection, or name a local file or folder.")
        ) from error  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:  # an unknown split is among these
        raise InputError(
            Problem(key, f"{source!r} could not be loaded: {_in_a_line(error)}",
                    "Check the name, the split and the connection, or name a local file.")
        ) from error  # fmt: skip


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _endings() -> str:
    return ", ".join(sorted(ending.lstrip(".") for ending in READERS))
