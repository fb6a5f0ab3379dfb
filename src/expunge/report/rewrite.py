"""A run's report once more, from the files in its folder alone: `expunge report`."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, Problem
from ..folder.lock import locked
from ..folder.requests import ContinualFolder
from ..folder.sweep import SweepFolder
from .continual import write_continual_report
from .page import write_report
from .sweep import write_sweep_report


def report_run(run_folder: Path, show_text: bool = False) -> Path:
    """Write `report.html` again and return its path.

    show_text: with the forgotten answers and what the model writes in their place; only its owner may read it then

    Raises `InputError` where it is no run folder, a file in it is broken, or the texts of several requests or of a
    sweep are asked for.
    """
    with locked(Path(run_folder), str(run_folder)):
        return _report_run(run_folder, show_text)


def _report_run(run_folder: Path, show_text: bool) -> Path:
    for folder, what, parts, write in (
        (ContinualFolder(run_folder), "run of several requests", "requests", write_continual_report),
        (SweepFolder(run_folder), "sweep", "trials", write_sweep_report),
    ):
        if not folder.state_file.exists():
            continue
        if show_text:
            raise InputError(
                Problem("--show-text", f"{str(run_folder)!r} is a {what}, whose report has no texts.",
                        f"Name the folder of one of its {parts}.")
            )  # fmt: skip
        return write(run_folder)
    return write_report(run_folder, show_text)
