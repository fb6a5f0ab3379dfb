"""One request: a recipe in, a run folder out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from transformers import TrainerCallback

from ..errors import InputError, Problem
from ..folder.checksums import check_finished
from ..folder.lock import check_place, locked
from ..folder.run import RunFolder
from ..hub import recording
from ..models.processes import processes
from ..progress import say
from ..recipe import Recipe
from ..storage import LOCK, is_taken
from .job import Job
from .phases import run_phases
from .result import Run


def run_recipe(
    recipe: Recipe,
    resume: bool,
    original_utility: float | None = None,
    callbacks: Sequence[TrainerCallback] = (),
    prepared: AbstractContextManager[None] = nullcontext(),
) -> Run:
    """Run one recipe in its folder.

    original_utility: what the utility rule takes its share of; None for that of the model that the run starts from
    callbacks:        see `unlearn`
    prepared:         entered once the folder is this process's alone, before it is looked at

    Raises `InputError` for wrong input, before anything is written, and `RunFailed` where training diverged before
    its first epoch was over.
    """
    folder = Path(recipe.output_folder)
    with locked(folder, f"output: {folder}"), prepared, recording() as asked:
        return _run(recipe, folder, resume, original_utility, callbacks, asked)


def _run(
    recipe: Recipe,
    folder: Path,
    resume: bool,
    original_utility: float | None,
    callbacks: Sequence[TrainerCallback],
    asked: Sequence[str],
) -> Run:
    """asked: grows by what the hub is asked for"""
    exists = is_begun(folder, RunFolder(folder).state_file, resume)
    if exists:
        check_finished(folder)
    job = Job(recipe, folder, original_utility, callbacks)
    processes().wait_for_everyone()  # all have looked at the folder before it is made
    if exists:
        job.folder.check_same(recipe, job.facts)
        if job.main_process and job.folder.state.state != "done":
            job.folder.go_on()
    elif job.main_process:
        job.folder.create(recipe, {**job.facts, "network": list(asked)})
    processes().wait_for_everyone()
    with job.folder.recording_failure(job.main_process):
        try:
            run_phases(job)
        finally:
            if job.main_process:
                job.folder.record_network(asked)
    say(f"Report: {job.folder.report_file}")
    return Run(folder)


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
