"""Rows of a data set from wherever the user keeps them: a file, a folder of text files, or the hub."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem

Row = dict[str, Any]

#: File ending → the loader of the datasets library that reads it.
LOADERS = {
    ".json": "json", ".jsonl": "json", ".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".txt": "text",
}  # fmt: skip


def read_rows(source: str, key: str) -> list[Row]:
    """All rows of `source` as dictionaries.

    source: a jsonl, json, csv, tsv, parquet or txt file (a txt file is one row), a folder of such files of one
            kind, or a data set on the hub as `organisation/name:split` or `organisation/name:configuration:split`
    key:    the recipe key that names it, for messages

    Raises `InputError` where there is nothing to read, or it cannot be read.
    """
    path = Path(source).expanduser()
    if path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.suffix in LOADERS)
        if not files:
            raise InputError(
                Problem(key, f"the folder {source!r} holds no data file.", f"Put {_endings()} files there.")
            )
    elif path.is_file():
        files = [path]
    elif ":" in source and not path.suffix:
        return _read_hub(source, key)
    else:
        raise InputError(
            Problem(key, f"there is no file {source!r}.",
                    f"Name a {_endings()} file, a folder of them, or a hub data set as organisation/name:split.")
        )  # fmt: skip
    return [row for file in files for row in _read_file(file, key)]


def _read_file(file: Path, key: str) -> list[Row]:
    if file.suffix not in LOADERS:
        raise InputError(Problem(key, f"{str(file)!r} is of no known kind.", f"Use one of {_endings()}."))
    if file.stat().st_size == 0:
        return []
    from datasets import disable_progress_bars, load_dataset

    disable_progress_bars()
    options: dict[str, Any] = {"sample_by": "document"} if file.suffix == ".txt" else {}
    if file.suffix == ".tsv":
        options["sep"] = "\t"
    # datasets keeps an Arrow copy of all it reads; what must be forgotten is not to stay in a cache.
    with tempfile.TemporaryDirectory() as cache:
        try:
            loaded = load_dataset(
                LOADERS[file.suffix], data_files=str(file), split="train", cache_dir=cache, **options
            )
            return [dict(row) for row in loaded]
        except Exception as error:  # its loaders raise many kinds, pyarrow's and pandas' among them
            reason = str(error.__cause__ or error).splitlines()[0]
            raise InputError(
                Problem(key, f"{str(file)!r} cannot be read: {reason}.", "Correct the file.")
            ) from error


def _read_hub(source: str, key: str) -> list[Row]:
    from datasets import load_dataset

    name, *configuration, split = source.split(":")
    try:
        return [dict(row) for row in load_dataset(name, *configuration, split=split)]
    except (OSError, ValueError) as error:  # the hub's errors and an unknown split are among these
        raise InputError(
            Problem(key, f"{source!r} could not be loaded: {str(error).splitlines()[0]}",
                    "Check the name, the split and the connection, or name a local file.")
        ) from error  # fmt: skip


def _endings() -> str:
    return ", ".join(sorted(ending.lstrip(".") for ending in LOADERS))
