"""The deliverable of a finished run, written to where the user wants it: `expunge export`."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..adapters.loading import write_merged
from ..errors import InputError, Problem, nearest
from ..folder.requests import ContinualFolder
from ..folder.run import RunFolder
from ..intact import RESTORE, check_folder, check_writable
from ..methods import METHODS
from ..models.loading import load_tokenizer
from ..models.settings import Model
from ..storage import atomic_folder, is_taken


def export_run(run_folder: Path, to: str, output: Path) -> Path:
    """Write the `adapter`, the `merged` model or the `assistant` of a run to `output`; of several requests what all
    of them left.

    Raises `InputError` for a form that the run's method does not hand over, an unfinished run and an output folder
    that is not empty.
    """
    result = _result(run_folder)
    problems = []
    if to not in result.forms:
        problems.append(Problem("--to", f"this run has no form {to!r}.", nearest(to, result.forms)))
    if not result.there:
        problems.append(
            Problem(
                str(run_folder),
                "the run has not got to its export.",
                "Finish it by `expunge run … --resume`.",
            )
        )
    if is_taken(output):
        problems.append(
            Problem(
                "--output",
                f"{str(output)!r} is a file or a folder that is not empty.",
                "Name another folder.",
            )
        )
    if problems:
        raise InputError(problems)
    check_writable(output, "--output")
    there = result.folder / to
    if there.is_dir():
        merge_anew = f"Delete {there}: it will be merged anew from the adapter."
        check_folder(there, merge_anew if to == "merged" and "adapter" in result.forms else RESTORE)
        with atomic_folder(output) as partial:
            shutil.copytree(there, partial, dirs_exist_ok=True)
    else:
        write_merged(result.model, load_tokenizer(result.model), result.folder / "adapter", output)
    return output


@dataclass(frozen=True)
class _Result:
    """folder: where the forms lie, each under its name; there: whether they do; model: that an adapter belongs to."""

    folder: Path
    there: bool
    forms: tuple[str, ...]
    model: Model


def _result(folder: Path) -> _Result:
    several = ContinualFolder(folder)
    if several.state_file.exists():
        original = several.requests.whole.model.model_copy(update={"adapters": []})
        return _Result(several.path, several.state.adapter is not None, ("adapter", "merged"), original)
    run = RunFolder(folder)
    there = run.done("export")  # says so where the folder is no run's
    recipe = run.recipe
    return _Result(run.path, there, METHODS[recipe.method.name].forms, recipe.model)
