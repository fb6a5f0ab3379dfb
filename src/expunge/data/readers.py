"""Rows from one file, by its ending; compressed files and the byte order marks of Windows included.

Local files are read directly, not by the datasets library: it would leave an Arrow copy of what must be forgotten in
its cache, take a column of dates for time stamps, and an answer `None` for a missing one.
"""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem
from ..progress import say

Row = dict[str, Any]

#: The most broken lines of one file that are listed.
LISTED = 10
#: Characters of a field of a csv file, which may be a book; the module's own limit is 131,072. The most it takes.
LONGEST_FIELD = 2**31 - 1
#: Digits of a number; Python reads none that is longer.
LONGEST_NUMBER = 4300

#: The remedy for a broken row of a csv file.
QUOTING = (
    "Put a field that holds a separator, a quote or a line break in quotes, and double the quotes in it."
)
#: Separators of the fields of a table, the likeliest first: Excel writes semicolons where commas part decimals.
SEPARATORS = (",", ";", "\t", "|")
#: Endings of compressed files, and pyarrow's names of them: `rows.jsonl.gz` is read as `rows.jsonl`.
COMPRESSED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
#: Byte order marks, the longer ones first: UTF-32's begins as UTF-16's does.
MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)

#: File ending → its reader; filled below.
READERS: dict[str, Callable[[Path], list[Any]]] = {}


def ending(file: Path) -> str:
    """The ending by which a file is read: in small letters, without that of a compression."""
    suffix = file.suffix.lower()
    return Path(file.stem).suffix.lower() if suffix in COMPRESSED else suffix


def read_bytes(file: Path) -> bytes:
    """The content of a file, decompressed where its ending says so. Raises `OSError` where it is cut short."""
    if file.suffix.lower() not in COMPRESSED:
        return file.read_bytes()
    from pyarrow import input_stream  # here, as most files are not compressed

    with input_stream(str(file), compression=COMPRESSED[file.suffix.lower()]) as content:
        return content.read()


def read_text(file: Path) -> str:
    """The text of a file, in UTF-8 or the encoding of its byte order mark, which is no part of the text.

    Raises `UnicodeDecodeError` for another encoding.
    """
    content = read_bytes(file)
    encoding = next((name for mark, name in MARKS if content.startswith(mark)), "utf-8")
    text = content.decode(encoding)
    # Latin letters in UTF-16 are letters and NULs in UTF-8.
    if encoding == "utf-8" and "\0" in text[:1000] and likely_encoding(content).startswith("UTF-16"):
        raise UnicodeDecodeError("utf-8", content, 0, 1, "the text holds NUL characters")
    return text


def with_one_newline(text: str) -> str:
    """A text whose lines end as in the texts that models learn from: Windows ends them by two characters, which are
    other tokens."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def likely_encoding(content: bytes) -> str:
    """The likely encoding of text that is no UTF-8, as iconv calls it."""
    start = content[:1000]
    if start[1::2].count(0) > len(start) // 4:
        return "UTF-16LE"
    if start[::2].count(0) > len(start) // 4:
        return "UTF-16BE"
    try:
        content.decode("cp1252")
    except UnicodeDecodeError:  # bytes that mean nothing there are frequent in East Asian encodings
        return "GB18030, SHIFT-JIS or BIG5"
    return "CP1252"


def _read_json(file: Path) -> list[Any]:
    """An object a line, or one list of objects; a text stands for an object with nothing else."""
    text = read_text(file)
    problems: list[Problem] = []
    if text.lstrip().startswith("["):
        rows = dict(enumerate(json.loads(text, object_pairs_hook=_object), start=1))
    else:
        rows = {}
        # Not `splitlines`: it also parts at characters that JSON allows within a text, U+2028 say.
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                rows[number] = json.loads(line, object_pairs_hook=_object)
            except json.JSONDecodeError as error:
                reason = f"the line is not JSON ({error.msg})."
                problems.append(Problem(f"{file}, row {number}", reason, "Write one JSON object a line."))
            except _RepeatedKey as error:
                problems.append(Problem(f"{file}, row {number}", f"{error}.", "Leave one of them."))
            except ValueError:
                reason = f"it holds a number of more than {LONGEST_NUMBER:,} digits."
                problems.append(Problem(f"{file}, row {number}", reason, "Write it as text, in quotes."))
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


class _RepeatedKey(ValueError):
    """An object that says two things under one name."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        (key, times), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise _RepeatedKey(f"the key {key[:80]!r} stands {times} times in one object")
    return content


def _can_be_written(row: Any) -> bool:
    """Whether all text in the row can be encoded: JSON's escapes can also write halves of characters."""
    try:
        json.dumps(row, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


def _read_csv(file: Path) -> list[Row]:
    """Every field as text: `7` is an answer, and so is `None`.

    Rows of blank fields, which spreadsheets leave, are left out, and the user is told.
    """
    csv.field_size_limit(LONGEST_FIELD)
    rows: list[Row] = []
    problems: list[Problem] = []
    blank = number = 0
    separator, text = _separated(read_text(file), "\t" if ending(file) == ".tsv" else ",")
    # Strict, as a quote that is never closed would make one field of the rest of the file.
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = next((fields for fields in reader if fields), [])
        _check_columns(columns, file)
        for fields in filter(None, reader):
            number += 1
            if any(fields[len(columns) :]):  # fields without a column
                reason = f"it has more fields than the {len(columns)} columns."
                problems.append(Problem(f"{file}, row {number}", reason, QUOTING))
            if any(field.strip() for field in fields):
                fields = [with_one_newline(field) for field in fields]
                named = zip(columns, fields, strict=False)
                rows.append(dict.fromkeys(columns) | {name: field for name, field in named if name or field})
            else:
                blank += 1
    except csv.Error as error:
        reason = f"its quotes or fields are broken ({error})."
        problems.append(Problem(f"{file}, row {number + 1}", reason, QUOTING))
    if problems:
        raise InputError(problems[:LISTED])
    if blank:
        say(f"{file}: {blank} rows of blank fields are left out.")
    return rows


def _separated(text: str, usual: str) -> tuple[str, str]:
    """The separator of the fields of a table, and the table.

    By Excel's line `sep=;` where there is one, which is left out; else the `usual` separator where the line of the
    columns' names holds it, or that of the others which parts the most names.
    """
    head, rest = (*re.split(r"\r\n|\r|\n", text, maxsplit=1), "")[:2]
    declared = head.strip().strip('"').lower()
    if declared.startswith("sep=") and len(declared) == len("sep=;"):
        return declared[-1], rest
    if head.lower() == "sep=\t":
        return "\t", rest
    counts = {separator: len(next(csv.reader([head], delimiter=separator), [])) for separator in SEPARATORS}
    if counts[usual] > 1:
        return usual, text
    best = max(SEPARATORS, key=lambda separator: counts[separator])
    return (best if counts[best] > 1 else usual), text


def _check_columns(columns: Sequence[str], file: Path) -> None:
    """Raises `InputError` for two columns of one name: only one of them would be read."""
    repeated = [name for name, times in Counter(columns).items() if times > 1 and name.strip()]
    if repeated:
        raise InputError(
            Problem(str(file), f"two of its columns are called {repeated[0]!r}.", "Give every column its own name.")
        )  # fmt: skip


def _read_parquet(file: Path) -> list[Row]:
    from pyarrow import BufferReader, lib
    from pyarrow.parquet import ParquetFile

    try:
        table = ParquetFile(BufferReader(read_bytes(file))).read()
        _check_columns(table.column_names, file)
        return table.to_pylist()
    # Of pyarrow's own errors only some are also Python's; a time beyond the year 9999 is one of Python's.
    except (lib.ArrowException, OverflowError, NotImplementedError) as error:
        raise ValueError(str(error)) from error


def _read_text(file: Path) -> list[Row]:
    return [{"text": with_one_newline(read_text(file))}]


READERS |= {
    ".csv": _read_csv,
    ".json": _read_json,
    ".jsonl": _read_json,
    ".md": _read_text,
    ".parquet": _read_parquet,
    ".tsv": _read_csv,
    ".txt": _read_text,
}
