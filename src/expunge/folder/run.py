"""A run folder: where everything lies, and the state in `run.json`. Plain files are the truth."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem
from ..intact import broken, read_intact, read_object
from ..models.fingerprint import difference
from ..recipe import Recipe, dump_recipe, load_recipe
from ..storage import read_json_lines, write_json, write_text
from .machine import now, versions

SCHEMA = "expunge.run/1"
#: What `run.json` has from its beginning, and everything here relies on.
STATE_KEYS = ("state", "phases", "model", "data", "adapter", "metrics")


class RunFolder:
    """The files of one run, and what `run.json` says about it. Every change is written at once."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.recipe_file = self.path / "recipe.yaml"
        self.state_file = self.path / "run.json"
        self.metrics_file = self.path / "metrics.jsonl"
        self.steps_file = self.path / "steps.jsonl"
        self.importance_file = self.path / "importance.safetensors"
        self.initial_adapter = self.path / "initial_adapter"
        self.checkpoints = self.path / "checkpoints"
        self.adapter = self.path / "adapter"
        self.merged = self.path / "merged"
        self.assistant = self.path / "assistant"
        self.reinforced_adapter = self.path / "reinforced_adapter"
        self.report_file = self.path / "report.html"
        self._state: dict[str, Any] = {}

    def reload(self) -> None:
        """Forget what is in memory: another process has written `run.json`."""
        self._state = {}

    def evaluation(self, name: str) -> Path:
        """The evaluation log `before`, `after`, `reference` or `epoch-K`."""
        return self.path / "eval" / f"{name}.json"

    @property
    def state(self) -> dict[str, Any]:
        if not self._state:
            if not self.state_file.is_file():
                raise InputError(
                    Problem(str(self.path), "this is no run folder: run.json is missing.",
                            "Give the folder that `expunge run` wrote.")
                )  # fmt: skip
            self._state = read_object(self.state_file, "the state of a run", STATE_KEYS, schema=SCHEMA)
        return self._state

    @property
    def recipe(self) -> Recipe:
        if not self.recipe_file.is_file():
            raise broken(self.recipe_file, "it is missing")
        return load_recipe(self.recipe_file)

    @property
    def epochs(self) -> list[dict[str, Any]]:
        """The lines of `metrics.jsonl`."""
        return read_intact(read_json_lines, self.metrics_file)

    def create(self, recipe: Recipe, facts: dict[str, Any]) -> None:
        """Start a new run. facts: what is known about model, data and machine before any work."""
        write_text(self.recipe_file, dump_recipe(recipe))
        self._state = {
            "schema": SCHEMA,
            "name": recipe.run_name,
            "state": "running",
            "versions": versions(),
            "seed": recipe.seed,
            "command": ["expunge", *sys.argv[1:]],
            "started": now(),
            "finished": None,
            "phases": {},
            **facts,
            "metrics": {"before": None, "after": None, "reference": None},
        }
        self.save()

    def check_same(self, recipe: Recipe, facts: dict[str, Any]) -> None:
        """Raise `InputError` where a run cannot be resumed because something else is asked for now."""
        problems = []
        old, new = self.recipe.model_dump(mode="json"), recipe.model_dump(mode="json")
        for content in (old, new):
            content["model"].pop("adapters")  # the model's fingerprint, compared below, tells of another one
        # Where the folder lies and what the run is called change nothing of the result.
        differing = [key for key in new if old.get(key) != new[key] and key not in ("name", "output")]
        if differing:
            problems.append(
                Problem(str(self.recipe_file), f"the recipe has changed in: {', '.join(differing)}.",
                        "Resume with the recipe that the run was started with, or choose another --output.")
            )  # fmt: skip
        for what, where in (("model", "fingerprint"), ("data", "forget"), ("data", "retain")):
            old_fact, new_fact = self.state[what][where], facts[what][where]
            if difference(old_fact, new_fact) if where == "fingerprint" else old_fact != new_fact:
                problems.append(
                    Problem(str(self.state_file), f"the {what}'s {where} is not what the run was started with.",
                            "Restore it, or start a new run with another --output.")
                )  # fmt: skip
        if problems:
            raise InputError(problems)

    def done(self, phase: str) -> bool:
        return self.state["phases"].get(phase, {}).get("state") == "done"

    def update(self, **changes: Any) -> None:
        self.state.update(changes)
        self.save()

    def save(self) -> None:
        write_json(self.state_file, self._state)

    @contextmanager
    def phase(self, name: str) -> Iterator[dict[str, Any]]:
        """Record a phase: running now, done with what the block puts into the yielded dictionary."""
        attempts = self.state["phases"].get(name, {}).get("attempts", 0) + 1
        self.state["phases"][name] = {"state": "running", "attempts": attempts, "started": now()}
        self.save()
        cost: dict[str, Any] = {}
        yield cost
        self.state["phases"][name].update(state="done", **cost)
        self.save()
