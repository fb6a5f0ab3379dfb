"""The folder of several requests: `requests/K` is the run of each, `continual.json` says what came of all."""

from __future__ import annotations

from typing import Any

from ..errors import Problem
from ..intact import broken
from ..recipe.requests import Requests, load_requests
from .agreement import INPUTS, REQUESTS, check_agreement, recipe_facts
from .continual_state import ContinualState
from .run import RunFolder, unfinished
from .state_folder import StateFolder


class ContinualFolder(StateFolder[ContinualState]):
    """The files of a run of several requests. What is written is on the disk at once."""

    schema = "expunge.continual/1"
    file_name = "continual.json"
    what = "the state of several requests"
    kind = ContinualState

    def request(self, number: int) -> RunFolder:
        """The run of a request, counted from 1."""
        return RunFolder(self.path / "requests" / str(number))

    def finished(self, number: int) -> bool:
        """Whether the run of a request is over."""
        run = self.request(number)
        return run.state_file.exists() and run.state.state == "done"

    @property
    def without_export(self) -> Problem | None:
        """Why there is no adapter to hand over; None where there is one."""
        if self.state.adapter:
            return None
        if self.state.state == "done":
            return Problem(
                str(self.path), "no request forgot anything, so there is no adapter.", "See the report."
            )
        return unfinished(self.path)

    @property
    def requests(self) -> Requests:
        if not self.recipe_file.is_file():
            raise broken(self.recipe_file, "it is missing")
        loaded = load_requests(self.recipe_file)
        if not isinstance(loaded, Requests):
            raise broken(self.recipe_file, "its data.forget is no list of requests")
        return loaded

    def create(self, requests: Requests, facts: dict[str, Any]) -> None:
        """Start. facts: what is known of the forget sets, the retain set, and what else each result depends on."""
        self._write_recipe(requests.dump())
        self._begin(
            requests.whole.run_name,
            requests.whole.seed,
            {**facts, "utility": {"original": None, "after": []}, "requests": [], "adapter": None},
        )

    def check_same(self, requests: Requests, facts: dict[str, Any]) -> None:
        """Raise `InputError` where the requests cannot be resumed because something else is asked for now."""
        then, now = recipe_facts(self.requests.content), recipe_facts(requests.content)
        check_agreement(
            (self.recipe_file, "the recipe", list(now), then, now),
            (self.state_file, "the input", REQUESTS, self.document, facts),
            *(
                (self.state_file, f"the input of request {number}", INPUTS, one_then, one_now)
                for number, (one_then, one_now) in enumerate(
                    zip(self.document.get("inputs", []), facts["inputs"], strict=False), start=1
                )
            ),
        )
