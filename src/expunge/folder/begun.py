"""Whether a folder holds a run that can be gone on with."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, Problem
from ..storage import LOCK, is_taken
from .lock import check_place


def is_begun(folder: Path, state_file: Path, resume: bool) -> bool:
    """Whether the run is there already, to be gone on with.

    Raises `InputError` for a folder that holds something else, or a run where none is to be resumed.
    """
    check_place(folder, f"output: {folder}")
    exists = state_file.exists()
    if exists and not resume:
        raise InputError(
            Problem(f"output: {folder}", "there is a run in this folder already.",
                    "Go on with it by --resume, or choose another --output.")
        )  # fmt: skip
    if not exists and is_taken(folder) and not _only_recipe(folder, state_file):
        raise InputError(
            Problem(f"output: {folder}", "the folder is not empty and holds no run.", "Choose another --output.")
        )  # fmt: skip
    return exists


def _only_recipe(folder: Path, state_file: Path) -> bool:
    """Whether there is only what was given in memory, what other processes lock, or what a kill left of creating it."""
    return {entry.name for entry in folder.iterdir()} <= {
        LOCK, "recipe.yaml", "recipe.yaml.partial", f"{state_file.name}.partial", f"{state_file.stem}.lock",
        "data", "base", "base.partial",
    }  # fmt: skip
