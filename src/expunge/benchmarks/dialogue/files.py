"""Dialogues as the TDEC experiments use them: what was said so far, and the reply that a person gave to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...data.rows import Row, files_of, read_rows
from ...errors import InputError, Problem

#: Problems of one file that are listed.
LISTED = 10
#: A line of the other speaker begins with this, and so the reply is over there.
NEXT_SPEAKER = "\nUser "


@dataclass(frozen=True)
class Reply:
    """context: the dialogue so far as it is shown to the model, up to where the reply follows after a space"""

    context: str
    response: str


def read_dialogues(source: str, key: str) -> dict[str, list[Reply]]:
    """Every set of `source`: name → replies.

    source: files, folders of files (every file is a set, named after it) and hub data sets `organisation/name:split`,
            separated by commas
    key:    the option that names it, for messages

    A row holds `context`, a text or the turns so far, and `response`; or `text`, the turns of which the last is the
    reply. Turns are written on lines of their own as `User 1: …`, `User 2: …`, as Jang et al. (2023) do; a text is
    taken as it is. Their own files (one JSON object with a column `text`) can be read. Raises `InputError` with every
    problem.
    """
    sets: dict[str, list[Reply]] = {}
    problems: list[Problem] = []
    for name, place in _places(source, key):
        if name in sets:
            problems.append(
                Problem(place, f"another set is called {name!r} already.", "Give each its own file name.")
            )
            continue
        try:
            rows = _rows(place, key)
        except InputError as error:
            problems += error.problems
            continue
        replies = [_reply(row, f"{place}, row {number}") for number, row in enumerate(rows, start=1)]
        problems += [reply for reply in replies if isinstance(reply, Problem)][:LISTED]
        sets[name] = [reply for reply in replies if isinstance(reply, Reply)]
        if not rows:
            problems.append(Problem(place, "it holds no dialogues.", "Give at least one."))
    if problems:
        raise InputError(problems)
    return sets


def write_turns(turns: Sequence[str]) -> str:
    """The turns of two speakers, on lines of their own, and the beginning of the next line."""
    lines = [f"User {1 + place % 2}: {turn}\n" for place, turn in enumerate(turns)]
    return "".join(lines) + f"User {1 + len(turns) % 2}:"


def _places(source: str, key: str) -> list[tuple[str, str]]:
    """(name of the set, where it is)"""
    places = []
    for part in (part.strip() for part in source.split(",")):
        path = Path(part)
        if path.is_dir():
            files = files_of(path, key)
            places += [(file.stem, str(file)) for file in files]
        elif path.is_file():
            places.append((path.stem, part))
        else:
            name, *more = part.split(
                ":"
            )  # of the hub: organisation/name, a configuration perhaps, and the split
            places.append(("_".join([name.rpartition("/")[2], *more[:-1]]), part))
    return places


def _rows(place: str, key: str) -> list[Row]:
    rows = read_rows(place, key)
    if len(rows) == 1 and isinstance(rows[0].get("text"), dict):
        return [{"text": turns} for turns in rows[0]["text"].values()]
    return rows


def _reply(row: Row, where: str) -> Reply | Problem:
    turns = row.get("text")
    if isinstance(turns, list) and turns:
        row = {"context": turns[:-1], "response": turns[-1]}
    context, response = _context(row.get("context")), row.get("response")
    if context is None:
        return Problem(
            where, "it has no `context`: a text, or a list of turns.", "Write what was said before the reply."
        )
    if not isinstance(response, str) or not response.strip():
        return Problem(where, "it has no `response`.", "Write the reply as text.")
    return Reply(context, response.strip())


def _context(given: Any) -> str | None:
    if isinstance(given, list) and given and all(isinstance(turn, str) for turn in given):
        return write_turns(given)
    return given.rstrip(" ") if isinstance(given, str) and given.strip() else None
