"""MUSE's files (Shi et al. 2025), from a folder or the hub, checked row by row.

A split is called `configuration/name` as on the hub (muse-bench/MUSE-News, MUSE-Books): `raw/forget`, `raw/retain1`,
`scal/forget_2`, `sust/forget_3`, `verbmem/forget`, `knowmem/forget_qa`, `privleak/holdout`. In a folder it is the
file of that name, json, jsonl or parquet; a list of texts stands for rows of `text`, as in the authors' own files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ...data.rows import Row, read_rows
from ...errors import InputError, Problem, nearest
from ...hub import is_hub_id

#: The columns of the configurations.
TEXTS = ("text",)
PASSAGES = ("prompt", "gt")
QUESTIONS = ("question", "answer")
#: Endings of a split's file, the first that is there wins: of a hub repository the parquet files are the newest.
ENDINGS = ("-*-of-*.parquet", ".parquet", ".jsonl", ".json")


def read_split(path: str, name: str, columns: Sequence[str], key: str = "data.path") -> list[Row]:
    """The rows of one split, which have text in all `columns`.

    path: a folder, or a data set on the hub as organisation/name
    key:  what the user calls `path`, for messages

    Raises `InputError` for a split that is missing or empty and for every row that is incomplete (ten are listed).
    """
    rows = [row for source in split_sources(path, name, key) for row in read_rows(source, key)]
    where = split_label(path, name)
    if not rows:
        raise InputError(Problem(where, "it holds no rows.", "Restore the file from the published data set."))
    problems = [
        Problem(
            f"{where}, row {number}",
            f"{_fault(row, column)} (columns there: {', '.join(sorted(row)) or 'none'}).",
            f"A row of {name} needs text in: {', '.join(columns)}.",
        )
        for number, row in enumerate(rows, start=1)
        for column in columns
        if not isinstance(row.get(column), str) or not row[column].strip()
    ]
    if problems:
        raise InputError(problems[:10])
    return rows


def split_label(path: str, name: str) -> str:
    """The name of a split in messages and logs."""
    return str(Path(path, name)) if Path(path).is_dir() else f"{path}:{name.replace('/', ':')}"


def split_sources(path: str, name: str, key: str = "data.path") -> list[str]:
    """The sources that `read_rows` reads a split from: its files, or its name on the hub.

    Raises `InputError` where it is missing.
    """
    folder = Path(path)
    if not folder.is_dir():
        if is_hub_id(path):
            return [split_label(path, name)]
        raise InputError(
            Problem(key, f"there is no folder {path!r}.",
                    "Name a folder with MUSE's files, or a hub data set such as muse-bench/MUSE-News.")
        )  # fmt: skip
    for ending in ENDINGS:
        files = sorted(folder.glob(f"{name}{ending}"))
        if files:
            return [str(file) for file in files]
    raise InputError(
        Problem(str(folder / name), "this split is missing: there is no json, jsonl or parquet file of it.",
                nearest(name, _splits(folder)) if _splits(folder) else "Copy the published data set there.")
    )  # fmt: skip


def _splits(folder: Path) -> set[str]:
    files = (file for ending in ENDINGS for file in folder.glob(f"*/*{ending}"))
    return {f"{file.parent.name}/{file.name.split('.')[0].split('-')[0]}" for file in files}


def _fault(row: Row, column: str) -> str:
    if column not in row:
        return f"there is no {column!r}"
    value = row[column]
    return f"the {column!r} is " + (
        "empty" if value is None or isinstance(value, str) else f"of type {type(value).__name__}, not text"
    )
