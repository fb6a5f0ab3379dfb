"""The baseline of a run by itself, for runs that have the same and need not measure it again."""

from __future__ import annotations

import shutil
from pathlib import Path

from transformers import set_seed

from ..folder.run import RunFolder
from ..models.half_precision import passing_in
from ..recipe import Recipe
from .job import Job
from .phases import baseline

PHASE = "baseline"


def measure_baseline(recipe: Recipe, folder: Path) -> RunFolder:
    """A run folder with the logs `before` and, where the recipe names one, `reference`; measured unless it is whole.

    Raises `InputError` for wrong input.
    """
    run = RunFolder(folder)
    if run.state_file.exists() and run.done(PHASE):
        return run
    shutil.rmtree(folder, ignore_errors=True)  # a kill has struck in between
    job = Job(recipe, folder)
    job.folder.create(recipe, job.facts)
    with (
        job.folder.recording_failure(job.main_process),
        passing_in(job.training.precision),
        job.folder.phase(PHASE) as result,
    ):
        with job.meter.phase() as cost:
            set_seed(recipe.seed)
            baseline(job)
        result.update(cost)
    return job.folder
