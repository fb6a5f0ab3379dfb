"""Whether the finished files of a run are those that it wrote."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError
from ..intact import check_folder

#: Folders of a run whose files no later phase reads as a whole; who reads a file of another one checks it by itself.
FINISHED = ("eval", "adapter", "merged", "assistant")


def check_finished(run_folder: Path) -> None:
    """Raise `InputError` with every log and every file to hand over that is missing or not as it was written."""
    problems = []
    for name in FINISHED:
        try:
            check_folder(run_folder / name)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
