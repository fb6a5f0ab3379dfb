"""The folder of a sweep: `trials/NNN` is the run of each trial, `sweep.json` says what came of all."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, StrictBool, StrictFloat, StrictInt, model_validator

from .agreement import INPUTS, NAMES, check_agreement
from .run import RunFolder
from .state import Count, Ended, InputFacts, Judgement, Origin, Record
from .state_folder import StateFolder

Score = Annotated[StrictFloat, Field(allow_inf_nan=False)]


class Point(Record):
    """A model in the picture of utility against forgetting; None where it was not measured."""

    score: Score | None
    utility: Score | None


class TrialResult(Point):
    """What came of a trial. score, utility: of the epoch that its run chose, by all forget questions.

    state:        done; pruned: left before its last epoch because others were ahead at the same epoch; diverged;
                  failed: its values do not go together, or need more memory than there is; or how its run ended
                  without a model
    choosing:     the score by the forget questions that the trials are compared by
    reporting:    the score by the others; None where there are too few to halve
    questions:    how many forget questions there are in all, and of those the choosing ones
    share:        the utility as a share of the original's
    qualified:    whether that is enough; also where nothing measures it
    original, reference: of the models that its run started from, and is compared with
    """

    state: Literal["done", "pruned", "diverged", "failed"] | Ended
    choosing: Score | None = None
    reporting: Score | None = None
    questions: tuple[Count, Count] | None = None
    share: Score | None = None
    qualified: StrictBool = False
    epoch: Count | None = None
    epochs: Count | None = None
    stopped: str | None = None
    original: Point | None = None
    reference: Point | None = None


class SweepTrial(Record):
    """A trial that was begun. values: of the keys of the space; result: None while it runs

    front: whether no other trial has both more utility and a better score
    """

    number: Count
    values: dict[str, Any]
    result: TrialResult | None = None
    front: StrictBool = False


class SweepState(Origin):
    """`sweep.json`.

    study:   the name of the study in the storage
    storage: its address, without a password; None for the journal in the folder
    trials:  how many there are to be, over all workers
    begun:   those that were begun, in the order of their numbers
    chosen:  the number of the trial whose model is handed over; deliverable: the folder that it lies in
    verdict: that of the chosen trial's run; where none left a model, of the first whose run has one
    """

    state: Literal["running", "done"]
    study: str
    storage: str | None
    space: Any
    sampler: Literal["random", "tpe"]
    prune: StrictBool
    inputs: InputFacts
    trials: Annotated[StrictInt, Field(ge=1)]
    begun: list[SweepTrial] = Field(default_factory=list)
    chosen: Count | None = None
    deliverable: Literal["adapter", "merged", "assistant"] | None = None
    verdict: Judgement | None = None

    @model_validator(mode="after")
    def _chosen_is_there(self) -> SweepState:
        if self.chosen is not None and self.chosen not in {trial.number for trial in self.begun}:
            raise ValueError(f"chooses trial {self.chosen}, which was not begun")
        return self

    @property
    def best(self) -> SweepTrial | None:
        return next((trial for trial in self.begun if trial.number == self.chosen), None)


#: What of a sweep has to agree when it is gone on with, or another worker joins.
SWEEP = ("space", "sampler", "prune", "storage", "seed")


class SweepFolder(StateFolder[SweepState]):
    """The files of a sweep. What is written is on the disk at once; other workers write them too: see `reload`."""

    schema = "expunge.sweep/1"
    file_name = "sweep.json"
    what = "the state of a sweep"
    kind = SweepState

    def __init__(self, path: str | Path):
        super().__init__(path)
        self.journal = self.path / "journal.log"
        self.importance = self.path / "importance"
        self.lock = self.path / "sweep.lock"
        self.importance_lock = self.path / "importance.lock"

    def trial_path(self, number: int) -> str:
        """Where the run of a trial lies in the folder, counted from 0 as optuna counts."""
        return f"trials/{number:03}"

    def trial(self, number: int) -> RunFolder:
        return RunFolder(self.path / self.trial_path(number))

    def trial_lock(self, number: int) -> Path:
        """Held by the worker that runs the trial, for as long as it lives."""
        return self.path / f"{self.trial_path(number)}.lock"

    def baseline(self, key: str) -> RunFolder:
        """A run that measured the original and the reference, and no more."""
        return RunFolder(self.path / "baselines" / key)

    def baseline_lock(self, key: str) -> Path:
        return self.path / "baselines" / f"{key}.lock"

    def create(self, name: str, seed: int, recipe: dict[str, Any], facts: dict[str, Any]) -> None:
        """Start. recipe: the content that the values of a trial are put into; facts: keys of `sweep.json`

        Raises `InputError` where another recipe lies there.
        """
        self._write_recipe(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True))
        self._begin(name, seed, facts)

    def check_same(self, recipe: dict[str, Any], facts: dict[str, Any]) -> None:
        """Raise `InputError` where the sweep cannot be gone on with because something else is asked for now."""
        keys = {*self._recipe, *recipe} - set(NAMES)
        then, now = ({key: content.get(key) for key in keys} for content in (self._recipe, recipe))
        check_agreement(
            (self.recipe_file, "the recipe", sorted(keys), then, now),
            (self.state_file, "the sweep", SWEEP, self.document, facts),
            (self.state_file, "the input", INPUTS, self.document["inputs"], facts["inputs"]),
        )

    @property
    def _recipe(self) -> dict[str, Any]:
        content = yaml.safe_load(self.recipe_text)
        return content if isinstance(content, dict) else {}
