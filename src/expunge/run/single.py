"""One request: a recipe in, a run folder out."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from transformers import TrainerCallback

from ..folder.begun import is_begun
from ..folder.checksums import check_finished
from ..folder.lock import locked
from ..folder.run import RunFolder
from ..hub import recording
from ..models.half_precision import passing_in
from ..models.processes import processes
from ..progress import say
from ..recipe import Recipe
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
    with job.folder.recording_failure(job.main_process), passing_in(job.training.precision):
        try:
            run_phases(job)
        finally:
            if job.main_process:
                job.folder.record_network(asked)
    say(f"Report: {job.folder.report_file}")
    return Run(folder)
