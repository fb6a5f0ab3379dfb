"""The deliverable of a finished run, written to where the user wants it: `expunge export`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ..adapters.handing_over import hand_over
from ..adapters.loading import write_merged
from ..errors import InputError, Problem, nearest
from ..folder.lock import locked
from ..folder.requests import ContinualFolder
from ..folder.run import RunFolder
from ..intact import RESTORE
from ..methods import METHODS
from ..models.loading import load_tokenizer
from ..models.settings import Model
from ..storage import is_taken
from .result import ContinualRun, Run

if TYPE_CHECKING:
    from ..report.continual import Overall
    from ..report.verdict import Verdict


def export_run(
    run_folder: Path, to: str, output: Path, look: Callable[[Verdict | Overall], None] | None = None
) -> Path:
    """Write the `adapter`, the `merged` model or the `assistant` of a run to `output`; of several requests what all
    of them left.

    look: is given the run's verdict before anything is written; what it raises leaves nothing behind

    Raises `InputError` for a form that the run's method does not hand over, a run that is not finished or forgot
    nothing, and an output folder that is not empty.
    """
    result = _result(run_folder)
    problems = []
    if to not in result.forms:
        problems.append(Problem("--to", f"this run has no form {to!r}.", nearest(to, result.forms)))
    if result.missing is not None:
        problems.append(result.missing)
    if is_taken(output):
        problems.append(_taken(output))
    if problems:
        raise InputError(problems)
    if look is not None:
        look(result.run.verdict)
    there = result.folder / to
    is_there = there.is_dir()  # before the lock makes it, where that is the output
    with locked(output, "--output"):
        if is_taken(output):
            raise InputError(_taken(output))
        if is_there:
            merge_anew = f"Delete {there}: it will be merged anew from the adapter."
            remedy = merge_anew if to == "merged" and "adapter" in result.forms else RESTORE
            hand_over(to, there, output, result.size, remedy)
        else:
            write_merged(result.model, load_tokenizer(result.model), result.folder / "adapter", output)
    return output


def _taken(output: Path) -> Problem:
    return Problem(
        "--output", f"{str(output)!r} is a file or a folder that is not empty.", "Name another folder."
    )


@dataclass(frozen=True)
class _Result:
    """What a run can hand over.

    run:     the run itself
    folder:  where the forms lie, each under its name
    missing: why they do not
    model:   that an adapter belongs to
    size:    bytes of the adapter's weights, None where the run did not record them
    """

    run: Run
    folder: Path
    missing: Problem | None
    forms: tuple[str, ...]
    model: Model
    size: int | None


def _result(folder: Path) -> _Result:
    several = ContinualFolder(folder)
    if several.state_file.exists():
        original = several.requests.whole.model.model_copy(update={"adapters": []})
        made = several.state.adapter
        size = made.bytes if made else None
        return _Result(
            ContinualRun(folder), several.path, several.without_export, ("adapter", "merged"), original, size
        )
    run = RunFolder(folder)
    missing = run.without_export  # says so where the folder is no run's
    recipe = run.recipe
    forms = METHODS[recipe.method.name].forms
    return _Result(Run(folder), run.path, missing, forms, recipe.model, run.state.adapter.bytes)
