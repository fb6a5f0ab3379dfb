"""`expunge report`: a run's report once more, from the files in its folder alone."""

from __future__ import annotations

from pathlib import Path

from ..errors import InputError, Problem
from ..report import write_continual_report, write_report
from ..report.continual import STATE_FILE


def report_run(run_folder: Path, show_text: bool = False) -> Path:
    """Write `report.html` again and return its path.

    show_text: with the forgotten answers and what the model writes in their place; only its owner may read it then

    Raises `InputError` where it is no run folder, a file in it is broken, or several requests' texts are asked for.
    """
    if not (Path(run_folder) / STATE_FILE).exists():
        return write_report(run_folder, show_text)
    if show_text:
        raise InputError(
            Problem("--show-text", f"{str(run_folder)!r} is a run of several requests, whose report has no texts.",
                    "Name the folder of one of its requests.")
        )  # fmt: skip
    return write_continual_report(run_folder)
