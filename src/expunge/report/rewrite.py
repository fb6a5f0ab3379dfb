"""A run's report once more, from the files in its folder alone: `expunge report`."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, Problem
from ..folder.lock import locked
from ..folder.requests import ContinualFolder
from .continual import write_continual_report
from .page import write_report


def report_run(run_folder: Path, show_text: bool = False) -> Path:
    """Write `report.html` again and return its path.

    show_text: with the forgotten answers and what the model writes in their place; only its owner may read it then

    Raises `InputError` where it is no run folder, a file in it is broken, or several requests' texts are asked for.
    """
    with locked(Path(run_folder), str(run_folder)):
        return _report_run(run_folder, show_text)


def _report_run(run_folder: Path, show_text: bool) -> Path:
    if not ContinualFolder(run_folder).state_file.exists():
        return write_report(run_folder, show_text)
    if show_text:
        raise InputError(
            Problem("--show-text", f"{str(run_folder)!r} is a run of several requests, whose report has no texts.",
                    "Name the folder of one of its requests.")
        )  # fmt: skip
    return write_continual_report(run_folder)
