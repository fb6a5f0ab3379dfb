"""The folder of a run: where everything lies, and what the files say. Plain files are the truth."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from safetensors.numpy import load_file

from ..attacks.settings import Budget
from ..errors import InputError, Problem
from ..evaluation.checked import checked
from ..evaluation.log import EvaluationLog
from ..evaluation.metric import Metric
from ..intact import RESTORE, broken, read_intact, read_object
from ..models.settings import Precision
from ..recipe import Recipe, dump_recipe, load_recipe
from ..recipe.loading import load_written_recipe
from ..storage import read_json
from .agreement import MODEL_BENEATH, RUN, START, check_agreement, recipe_facts
from .attacks import AttackFolder
from .epochs import EpochsFolder
from .machine import now, say_changed_versions
from .state import AdapterConfig, RunState
from .state_folder import StateFolder

STAGES = ("before", "after", "reference")

Content = TypeVar("Content")


class RunFolder(StateFolder[RunState], EpochsFolder):
    """The files of one run. What is read is held in memory; what is written is on the disk at once.

    Raises `InputError` where a file is read that is damaged.
    """

    schema = "expunge.run/1"
    file_name = "run.json"
    what = "the state of a run"
    kind = RunState

    def __init__(self, path: str | Path):
        StateFolder.__init__(self, path)
        EpochsFolder.__init__(self, path)
        self.importance_file = self.path / "importance.safetensors"
        self.initial_adapter = self.path / "initial_adapter"
        self.assistant = self.path / "assistant"
        self.reinforced_adapter = self.path / "reinforced_adapter"
        self.attacks = AttackFolder(self.path / "attacks")

    def attacks_of(self, budget: Budget) -> AttackFolder:
        """The records of a budget's attacks. Those of the full one lie apart: they rest on other questions."""
        return self.attacks if budget == "cheap" else AttackFolder(self.attacks.path / budget)

    def trial(self, number: int) -> EpochsFolder:
        """The files of a trial, counted from 1."""
        return EpochsFolder(self.path / "trials" / str(number))

    @cached_property
    def recipe(self) -> Recipe:
        if not self.recipe_file.is_file():
            raise broken(self.recipe_file, "it is missing")
        return load_recipe(self.recipe_file)

    @property
    def precision(self) -> Precision:
        """What the run's passes are made in: what it has found to be faster, else what its recipe says."""
        found = self.state.precision
        return found.chosen if found else self.recipe.training.precision

    @cached_property
    def written_recipe(self) -> Recipe | None:
        """The recipe to be shown, None where it is missing: a report can do without."""
        return load_written_recipe(self.recipe_file) if self.recipe_file.exists() else None

    @cached_property
    def logs(self) -> Mapping[str, EvaluationLog]:
        """The evaluation logs by stage, those that are there."""
        logs = _read_all(partial(self.log, stage) for stage in STAGES)
        return {stage: log for stage, log in zip(STAGES, logs, strict=True) if log is not None}

    def log(self, name: str) -> EvaluationLog | None:
        """An evaluation log, None where there is none of that name."""
        file = self.evaluation(name)
        if not file.exists():
            return None
        content = read_intact(read_json, file)
        if not isinstance(content, dict):
            raise broken(file, f"it holds a {type(content).__name__} in place of a dict")
        return EvaluationLog.from_json(content, str(file))

    @cached_property
    def importance(self) -> dict[str, np.ndarray]:
        """Module name → d, (d_out,) fp32; empty when no importance was measured."""
        return read_intact(load_file, self.importance_file) if self.importance_file.exists() else {}

    @cached_property
    def adapter_config(self) -> AdapterConfig:
        """Of the exported adapter; empty when there is none."""
        file = self.adapter / "adapter_config.json"
        if not file.exists():
            return AdapterConfig()
        return checked(
            AdapterConfig, read_object(file, "the configuration of an adapter", ()), str(file), RESTORE
        )

    def metrics(self, stage: str) -> Mapping[str, Metric]:
        """The final metrics of a stage; empty when it was not evaluated."""
        return getattr(self.state.metrics, stage) or {}

    @property
    def last_stage(self) -> str:
        """Whose figures are those of the model that the run leaves: the original's where it hands over none."""
        return "before" if self.state.ended else "after"

    @property
    def without_export(self) -> Problem | None:
        """Why there is no model to hand over; None where there is one."""
        if self.state.ended:
            return Problem(
                str(self.path), f"the run handed over no model: {self.state.ended}.", "See its report."
            )
        if not self.done("export"):
            return unfinished(self.path)
        return None

    def create(self, recipe: Recipe, facts: dict[str, Any]) -> None:
        """Start a new run. facts: what is known about model, data and machine before any work.

        Raises `InputError` where another recipe lies there.
        """
        self._write_recipe(dump_recipe(recipe))
        metrics = dict.fromkeys(STAGES)
        self._begin(recipe.run_name, recipe.seed, {"phases": {}, **facts, "metrics": metrics})

    def check_same(self, recipe: Recipe, facts: dict[str, Any]) -> None:
        """Raise `InputError` where a run cannot be resumed because something else is asked for now."""
        then, now_asked = (
            recipe_facts(each.model_dump(mode="json"), MODEL_BENEATH) for each in (self.recipe, recipe)
        )
        check_agreement(
            (self.recipe_file, "the recipe", list(now_asked), then, now_asked),
            (self.state_file, "the input", RUN, self.document, facts),
        )

    def check_start(self, facts: Mapping[str, Any]) -> None:
        """Raise `InputError` where training started from another model than the one that `facts` tells of."""
        check_agreement((self.state_file, "the input", START, self.document, {"start": facts}))

    def go_on(self) -> None:
        """Take up a run that is not over. Other versions than it was started with are said, and recorded."""
        if self.state.state == "failed":
            self.update(state="running", error=None)
        if changed := say_changed_versions(self.state.versions):
            earlier = self.document.get("resumed", [])
            self.update(resumed=[*earlier, {"at": now(), "changed_versions": changed}])

    def done(self, phase: str) -> bool:
        return phase in self.state.phases and self.state.phases[phase].state == "done"

    @contextmanager
    def phase(self, name: str) -> Iterator[dict[str, Any]]:
        """Record a phase: running now, done with what the block puts into the yielded dictionary."""
        earlier = self.state.phases.get(name)
        facts = {"state": "running", "attempts": earlier.attempts + 1 if earlier else 1, "started": now()}
        self.extend("phases", **{name: facts})
        cost: dict[str, Any] = {}
        yield cost
        self.extend("phases", **{name: {**facts, "state": "done", **cost}})

    def write_metrics(self, stage: str, metrics: Mapping[str, Metric]) -> None:
        """Record the final metrics of a stage."""
        self.extend("metrics", **{stage: {name: metric.to_json() for name, metric in metrics.items()}})


def read_run_folder(path: str | Path) -> RunFolder:
    """A run folder whose files have all been read, for a report.

    Only `run.json` must be there. Raises `InputError` with everything that is damaged.
    """
    folder = RunFolder(path)
    _read_all(
        (
            lambda: folder.state,
            lambda: folder.written_recipe,
            lambda: folder.epochs,
            lambda: folder.steps,
            lambda: folder.logs,
            lambda: folder.importance,
            lambda: folder.adapter_config,
        )
    )
    return folder


def unfinished(folder: Path) -> Problem:
    return Problem(
        str(folder), "the run has not got to its export.", "Finish it by `expunge run … --resume`."
    )


def _read_all(reads: Iterable[Callable[[], Content]]) -> list[Content]:
    """What all of them give. Raises `InputError` with the problems of all."""
    contents, problems = [], []
    for read in reads:
        try:
            contents.append(read())
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return contents
