"""`expunge export`: the deliverable of a finished run, written to where the user wants it."""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import InputError, Problem, nearest
from ..models.loading import load_tokenizer
from ..storage import atomic_folder
from .folder import RunFolder
from .phases import write_merged


def export_run(run_folder: Path, to: str, output: Path) -> Path:
    """Write the `adapter` or the `merged` model of a run to `output`.

    Raises `InputError` for an unknown form, an unfinished run and an output folder that is not empty.
    """
    run = RunFolder(run_folder)
    problems = []
    if to not in ("adapter", "merged"):
        problems.append(Problem("--to", f"there is no form {to!r}.", nearest(to, ("adapter", "merged"))))
    if not run.done("export"):
        problems.append(
            Problem(
                str(run_folder),
                "the run has not got to its export.",
                "Finish it by `expunge run … --resume`.",
            )
        )
    if output.is_file() or (output.exists() and any(output.iterdir())):
        problems.append(
            Problem(
                "--output",
                f"{str(output)!r} is a file or a folder that is not empty.",
                "Name another folder.",
            )
        )
    if problems:
        raise InputError(problems)
    if to == "merged":
        model = run.recipe.model
        write_merged(model, load_tokenizer(model), run.adapter, output)
    else:
        with atomic_folder(output) as partial:
            shutil.copytree(run.adapter, partial, dirs_exist_ok=True)
    return output
