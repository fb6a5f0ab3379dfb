"""`expunge importance`: measured once, and kept for the runs that need the same."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from safetensors.torch import save_file

from ..adapters.settings import DIRECTIONS
from ..errors import InputError, Problem
from ..importance import estimators
from ..progress import say
from ..recipe import Recipe, load_recipe
from ..recipe.loading import naming_recipe
from ..run.importance import measure, read_stored, stored_file
from ..run.job import Job
from ..storage import atomic_file


def measure_and_store(source: str | Path, overrides: Sequence[str] = ()) -> Path:
    """`expunge importance`: the file in the store, measured unless it is there and whole.

    Raises `InputError` for wrong input, and where the initialisation needs no measurement.
    """
    with naming_recipe(source):
        return _measure_and_store(load_recipe(source, overrides))


def _measure_and_store(recipe: Recipe) -> Path:
    chosen = recipe.adapter.initialization
    if not recipe.adapter.measured:
        raise InputError(
            Problem("adapter.initialization", f"{chosen!r} needs no importance.",
                    f"Name an estimator: {', '.join(estimators)}; or {DIRECTIONS}.")
        )  # fmt: skip
    job = Job(recipe, Path(recipe.output_folder))
    file = stored_file(job)
    if read_stored(file) is not None:
        say(f"There already: {file}")
        return file
    rows = measure(job)
    if job.main_process:
        file.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(file) as partial:
            save_file(rows, partial, metadata={"estimator": chosen, "model": recipe.model.path})
    return file
