"""The main job: recipe in, run folder out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ExpungeError, InputError, Problem
from ..models.processes import processes
from ..progress import say
from ..recipe import Recipe, load_recipe
from .folder import RunFolder
from .job import Job
from .phases import run_phases


@dataclass(frozen=True)
class Run:
    """A finished run. `path` is its folder; see `expunge run --help` for what lies there."""

    path: Path

    @property
    def state(self) -> dict[str, Any]:
        """The content of `run.json`."""
        return RunFolder(self.path).state

    @property
    def metrics(self) -> dict[str, dict[str, dict[str, Any]]]:
        """{before, after, reference} → metric name → value, n, low, high (a 95 % interval where there is one)."""
        return self.state["metrics"]

    @property
    def report(self) -> Path:
        return RunFolder(self.path).report_file

    @property
    def adapter(self) -> Path:
        """Loads with `PeftModel.from_pretrained(base, adapter)` on the original base."""
        return RunFolder(self.path).adapter


def unlearn(
    recipe: str | Path | Mapping[str, Any] | Recipe,
    overrides: Sequence[str] = (),
    *,
    output: str | Path | None = None,
    resume: bool = False,
) -> Run:
    """Run a recipe: importance → adapter → training → evaluation → export → report.

    recipe:    a YAML file, its content, or a `Recipe`
    overrides: `key.sub=value`
    output:    run folder, in place of the recipe's
    resume:    go on with a run that was interrupted; finished phases are not repeated, and the weights become those
               of an uninterrupted run

    Raises `InputError` for wrong input, before anything is written, and `RunFailed` where training diverged before
    its first epoch was over.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, overrides, output=str(output) if output else None)
    folder = Path(recipe.output_folder)
    if folder.is_file():
        raise InputError(Problem(f"output: {folder}", "this is a file.", "Name a folder."))
    exists = RunFolder(folder).state_file.exists()
    if exists and not resume:
        raise InputError(
            Problem(f"output: {folder}", "there is a run in this folder already.",
                    "Go on with it by --resume, or choose another --output.")
        )  # fmt: skip
    if not exists and folder.exists() and any(folder.iterdir()) and not _only_recipe(folder):
        raise InputError(
            Problem(f"output: {folder}", "the folder is not empty and holds no run.", "Choose another --output.")
        )  # fmt: skip
    job = Job(recipe, folder)
    processes().wait_for_everyone()  # all have looked at the folder before it is made
    if exists:
        job.folder.check_same(recipe, job.facts)
        if job.main_process and job.folder.state["state"] == "failed":
            job.folder.update(state="running", error=None)
    elif job.main_process:
        job.folder.create(recipe, job.facts)
    processes().wait_for_everyone()
    try:
        run_phases(job)
    except ExpungeError as error:
        if job.main_process:
            job.folder.update(state="failed", error=str(error))
        raise
    say(f"Report: {job.folder.report_file}")
    return Run(folder)


def _only_recipe(folder: Path) -> bool:
    """Whether a kill struck while the run was being created."""
    return {entry.name for entry in folder.iterdir()} <= {
        "recipe.yaml", "recipe.yaml.partial", "run.json.partial",
    }  # fmt: skip
