"""Rows of a data set from wherever the user keeps them: a file, a folder of files, or the hub."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem
from ..hub import ask, connection_remedy, is_hub_id
from ..progress import say
from .readers import COMPRESSED, LISTED, READERS, Row, ending, likely_encoding, read_bytes

__all__ = ["LISTED", "READERS", "Row", "Unreachable", "read_file", "read_rows"]

#: Folders of a trainer's state, in which json files are no data.
CHECKPOINT = re.compile(r"checkpoint-\d+|__pycache__")
#: Texts about a data set that lie beside it.
ABOUT = re.compile(r"(readme|license|licence|changelog|citation|contributing)(\.(md|txt))?", re.IGNORECASE)


class Unreachable(InputError):
    """A data set that the hub does not have or that cannot be asked for, whichever split of it is wanted."""


def read_rows(source: str, key: str) -> list[Row]:
    """All rows of `source` as dictionaries.

    source: a jsonl, json, csv, tsv, parquet, txt or md file (a text is one row), compressed or not; a folder of such
            files of one kind, of which the user is told what is left out; or a data set on the hub as
            `organisation/name:split` or `organisation/name:configuration:split`
    key:    the recipe key that names it, for messages

    Raises `InputError` where there is nothing to read, or it cannot be read; `Unreachable` where no other split of a
    data set on the hub can be either.
    """
    # Not by pathlib, whose questions fail for a name that is too long.
    if os.path.isdir(source):
        files = files_of(Path(source), key)
        if not files:
            raise InputError(
                Problem(key, f"the folder {source!r} holds no data file.", f"Put {_endings()} files there.")
            )
    elif os.path.lexists(source):
        files = [Path(source)]
    elif ":" in source and is_hub_id(source.partition(":")[0]):
        return _read_hub(source, key)
    else:
        raise InputError(
            Problem(key, f"there is no file {source!r}.",
                    f"Name a {_endings()} file, a folder of them, or a hub data set as organisation/name:split.")
        )  # fmt: skip
    return [row for file in files for row in _read_file(file, key)]


def read_file(file: Path, key: str) -> list[Any]:
    """The rows of one file, whatever a row is. Raises `InputError` where it cannot be read."""
    if ending(file) not in READERS:
        raise InputError(Problem(key, f"{str(file)!r} is of no known kind.", f"Use one of {_endings()}."))
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # to open a pipe is to wait for whoever writes it
            raise InputError(
                Problem(key, f"{str(file)!r} is a pipe, a socket or a device, not a file.", "Write it to a file first.")
            )  # fmt: skip
        return READERS[ending(file)](file)
    except UnicodeDecodeError as error:
        likely = likely_encoding(read_bytes(file))
        raise InputError(
            Problem(key, f"{str(file)!r} cannot be read: {_in_a_line(error)}.",
                    f"Save it as UTF-8. It is likely {likely}: iconv -f {likely.partition(',')[0]} -t UTF-8 FILE > NEW")
        ) from error  # fmt: skip
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            Problem(key, f"{str(file)!r} cannot be read: {_in_a_line(error)}.", "Correct the file.")
        ) from error


def files_of(folder: Path, key: str) -> list[Path]:
    """The data files of a folder and its folders, in the order of their names; what is left out is named."""
    try:
        there = sorted(_walk(folder, set()))
    except OSError as error:
        raise InputError(
            Problem(key, f"the folder {str(folder)!r} cannot be read: {_in_a_line(error)}.", "Correct its permissions.")
        ) from error  # fmt: skip
    files: list[Path] = []
    left_out: list[Path] = []
    for file in there:
        inside = file.relative_to(folder)
        hidden = any(part.startswith(".") or CHECKPOINT.fullmatch(part) for part in inside.parts)
        about = ABOUT.fullmatch(file.name)
        (left_out if hidden or about or ending(file) not in READERS else files).append(file)
    if files and left_out:
        names = ", ".join(str(file.relative_to(folder)) for file in left_out[:LISTED])
        more = f" and {len(left_out) - LISTED} more" if len(left_out) > LISTED else ""
        say(
            f"{key}: of the folder {str(folder)!r}, {len(files)} files are read and {len(left_out)} left out, which "
            f"are hidden, about the data, a trainer's, or of no known kind: {names}{more}."
        )
    return files


def _walk(folder: Path, visited: set[str]) -> Iterator[Path]:
    """Everything beneath that is no folder, links followed; a folder with a link to itself inside counts once."""
    if (place := os.path.realpath(folder)) in visited:
        return
    visited.add(place)
    for entry in folder.iterdir():
        if os.path.isdir(entry):
            yield from _walk(entry, visited)
        else:
            yield entry


def _read_file(file: Path, key: str) -> list[Row]:
    rows = [{"text": row} if isinstance(row, str) else row for row in read_file(file, key)]
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise InputError(
                Problem(f"{file}, row {number}", "it is no object and no text.", "Write one object a line.")
            )
    return rows


def _read_hub(source: str, key: str) -> list[Row]:
    from datasets import load_dataset
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    name, *configuration, split = source.split(":")
    ask("data set", source)
    try:
        return [dict(row) for row in load_dataset(name, *configuration, split=split)]
    except (ConnectionError, DatasetNotFoundError) as error:
        raise Unreachable(
            Problem(key, f"there is no folder {name!r}, and no data set of that name could be had from the hub: "
                    f"{_in_a_line(error)}.",
                    connection_remedy("name a local file or folder."))
        ) from error  # fmt: skip
    except (OSError, ValueError, RuntimeError, DatasetsError) as error:  # an unknown split is among these
        raise InputError(
            Problem(key, f"{source!r} could not be loaded: {_in_a_line(error)}",
                    connection_remedy("name a local file."))
        ) from error  # fmt: skip


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _endings() -> str:
    endings = ", ".join(sorted(ending.lstrip(".") for ending in READERS))
    return f"{endings} (or one of them with {', '.join(COMPRESSED)})"
