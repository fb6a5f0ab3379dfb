"""The folder of several requests: `requests/K` is the run of each, `continual.json` says what came of all."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem
from ..intact import broken, read_object
from ..recipe.requests import Requests, load_requests
from ..storage import write_json, write_text
from .machine import now, versions
from .run import RunFolder

SCHEMA = "expunge.continual/1"
#: What `continual.json` has from its beginning.
STATE_KEYS = ("state", "finished", "data", "utility", "requests", "adapter")


class ContinualFolder:
    """The files of a run of several requests, and what `continual.json` says. Every change is written at once."""

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.recipe_file = self.path / "recipe.yaml"
        self.state_file = self.path / "continual.json"
        self.adapter = self.path / "adapter"
        self.merged = self.path / "merged"
        self.report_file = self.path / "report.html"

    def request(self, number: int) -> RunFolder:
        """The run of a request, counted from 1."""
        return RunFolder(self.path / "requests" / str(number))

    def finished(self, number: int) -> bool:
        """Whether the run of a request is over."""
        run = self.request(number)
        return run.state_file.exists() and run.state["state"] == "done"

    @property
    def state(self) -> dict[str, Any]:
        return read_object(self.state_file, "the state of several requests", STATE_KEYS, schema=SCHEMA)

    @property
    def requests(self) -> Requests:
        if not self.recipe_file.is_file():
            raise broken(self.recipe_file, "it is missing")
        loaded = load_requests(self.recipe_file)
        if not isinstance(loaded, Requests):
            raise broken(self.recipe_file, "its data.forget is no list of requests")
        return loaded

    def create(self, requests: Requests, data: dict[str, Any]) -> None:
        """Start. data: what is known of the forget sets and the retain set."""
        write_text(self.recipe_file, requests.dump())
        state = {
            "schema": SCHEMA,
            "name": requests.whole.run_name,
            "state": "running",
            "versions": versions(),
            "seed": requests.whole.seed,
            "command": ["expunge", *sys.argv[1:]],
            "started": now(),
            "finished": None,
            "data": data,
            "utility": {"original": None, "after": []},
            "requests": [],
            "adapter": None,
        }
        write_json(self.state_file, state)

    def check_same(self, requests: Requests, data: dict[str, Any]) -> None:
        """Raise `InputError` where the requests cannot be resumed because something else is asked for now."""
        problems = []
        old, new = self.requests.content, requests.content
        differing = [key for key in new if old.get(key) != new[key] and key not in ("name", "output")]
        if differing:
            problems.append(
                Problem(str(self.recipe_file), f"the recipe has changed in: {', '.join(differing)}.",
                        "Resume with the recipe that the run was started with, or choose another --output.")
            )  # fmt: skip
        if self.state["data"] != data:
            problems.append(
                Problem(str(self.state_file), "the data are not what the run was started with.",
                        "Restore them, or start a new run with another --output.")
            )  # fmt: skip
        if problems:
            raise InputError(problems)

    def update(self, **changes: Any) -> None:
        write_json(self.state_file, {**self.state, **changes})
