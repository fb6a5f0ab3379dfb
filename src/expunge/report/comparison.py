"""Runs side by side: means and deviations over the seeds of every method, model and forget set."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem
from ..evaluation.metric import Metric
from ..folder.requests import ContinualFolder
from ..folder.run import RunFolder
from ..folder.sweep import SweepFolder
from .attacks import worst_first
from .evidence import Forgetting, rule_utility
from .page import gather_evidence
from .verdict import judge

#: What a run needs and keeps, in the order of the tables; the metrics of the model after unlearning follow.
FIGURES = ("utility_share", "epochs", "trainable_share", "seconds", "peak_memory_bytes", "worst_attack_share")
#: The outcomes that count as forgotten: no attack that was made says otherwise.
FORGOTTEN = (Forgetting.FORGOTTEN, Forgetting.AS_ASKED, Forgetting.UNRESOLVED)
#: Keys of the recipe in which runs of a group may differ: where things lie, and what the model is compared with.
FREE = ("seed", "name", "output", "model.path", "model.revision", "evaluation.reference", "evaluation.before")
#: Keys of the data that change what a sample is; the others say where and in what form it lies.
ASKED = ("template", "max_length", "neighbours")


@dataclass(frozen=True)
class Spread:
    """The mean over n runs and their standard deviation (of a sample: n − 1), None for a single run."""

    mean: float
    deviation: float | None
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        deviation = statistics.stdev(values) if len(values) > 1 else None
        return cls(statistics.fmean(values), deviation, len(values))


@dataclass(frozen=True)
class RunFacts:
    """One run. succeeded: forgotten, with the utility kept; figures: of `FIGURES` those that are known"""

    folder: RunFolder
    headline: str
    succeeded: bool
    figures: Mapping[str, float]

    def metrics(self, stage: str) -> Mapping[str, Metric]:
        """Those that are numbers."""
        return {
            name: metric for name, metric in self.folder.metrics(stage).items() if math.isfinite(metric.value)
        }


@dataclass(frozen=True)
class Group:
    """Runs that differ in their seed alone; across sets also in their data.

    forget_sets: sources of the forget sets; settings: keys of the recipe that tell this group from others of the same
    method, model and set
    """

    method: str
    model: str
    forget_sets: list[str]
    runs: list[RunFacts]
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def success_rate(self) -> float:
        """The share of all runs, also of those that failed, that forgot and kept the utility."""
        return sum(run.succeeded for run in self.runs) / len(self.runs)

    @property
    def figures(self) -> dict[str, Spread]:
        """Of `FIGURES` those that a run has."""
        return _spreads([run.figures for run in self.runs], FIGURES)

    @property
    def metrics(self) -> dict[str, Spread]:
        """The metrics of the models after unlearning."""
        sides = [{name: metric.value for name, metric in run.metrics("after").items()} for run in self.runs]
        return _spreads(sides, dict.fromkeys(name for side in sides for name in side))

    def to_json(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "model": self.model,
            "forget_sets": self.forget_sets,
            "settings": self.settings,
            "runs": [str(run.folder.path) for run in self.runs],
            "seeds": [run.folder.state.seed for run in self.runs],
            "success_rate": self.success_rate,
            **{name: vars(spread) for name, spread in self.figures.items()},
            "metrics": {name: vars(spread) for name, spread in self.metrics.items()},
        }


def compare(paths: Iterable[Path], across_sets: bool = False) -> list[Group]:
    """The groups of runs, in the order in which their first ones are named.

    across_sets: runs on different data belong together, for the mean over a benchmark's sets

    Raises `InputError` with everything that is no folder of a run, or is damaged.
    """
    runs, problems = [], []
    for path in dict.fromkeys(paths):
        try:
            runs.append(_facts(path))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    members: dict[tuple[Any, ...], list[RunFacts]] = {}
    for run in runs:
        settings = _settings(run.folder, across_sets)
        key = (
            *_kind(run, across_sets),
            tuple(sorted((name, repr(value)) for name, value in settings.items())),
        )
        members.setdefault(key, []).append(run)
    firsts = [group[0] for group in members.values()]
    return [
        Group(
            method=_method(group[0].folder),
            model=group[0].folder.state.model.path,
            forget_sets=list(dict.fromkeys(run.folder.state.data.forget.source for run in group)),
            runs=group,
            settings=_telling(group[0], firsts, across_sets),
        )
        for group in members.values()
    ]


def _facts(path: Path) -> RunFacts:
    for kind, what in ((ContinualFolder, "run of several requests"), (SweepFolder, "sweep")):
        if kind(path).state_file.exists():
            raise InputError(
                Problem(str(path), f"it is the folder of a {what}, not of a run.",
                        "Name the folders of runs in it.")
            )  # fmt: skip
    folder = RunFolder(path)
    state = folder.state
    verdict = judge(gather_evidence(folder))
    finished = state.state == "done" and not state.ended
    before, after = folder.metrics("before"), folder.metrics("after")
    utility = rule_utility(state.training.utility_metric if state.training else None, before, after)
    phases = state.phases.values()
    attacks = worst_first(state.attacks) if state.attacks else []
    figures = {
        "utility_share": after[utility].value / before[utility].value
        if utility and before[utility].value
        else None,
        "epochs": state.training.best_epoch if state.training else None,
        "trainable_share": state.adapter.trainable_parameters / state.model.parameters
        if state.adapter.trainable_parameters and state.model.parameters
        else None,
        "seconds": sum(phase.seconds or 0.0 for phase in phases) or None,
        "peak_memory_bytes": max((phase.peak_memory_bytes or 0 for phase in phases), default=0) or None,
        "worst_attack_share": attacks[0].share if attacks else None,
    }
    return RunFacts(
        folder=folder,
        headline=verdict.headline,
        succeeded=finished and verdict.forgetting in FORGOTTEN and verdict.utility_kept is True,
        figures={
            name: float(value)
            for name, value in figures.items()
            if value is not None and math.isfinite(value)
        },
    )


def _kind(run: RunFacts, across_sets: bool) -> tuple[str, ...]:
    """The method, the model and the forget set: of the last two what they hold, not where they lie."""
    state = run.folder.state
    return _method(run.folder), state.model.fingerprint, "" if across_sets else state.data.forget.hash


def _method(folder: RunFolder) -> str:
    """In a few words: the method, or the initialisation and the losses."""
    recipe = folder.written_recipe
    if recipe and recipe.method.name != "unlearn":
        return recipe.method.name
    parts = [folder.state.adapter.initialization]
    if recipe:
        parts += [recipe.objective.forget, recipe.objective.retain]
    return ", ".join(part for part in parts if part) or folder.state.method or "unlearn"


def _settings(folder: RunFolder, across_sets: bool) -> dict[str, Any]:
    """The recipe by dotted keys, without what may differ within a group."""
    recipe = folder.written_recipe
    if recipe is None:
        return {}
    content = recipe.model_dump(mode="json")
    content["data"] = {key: value for key, value in content["data"].items() if key in ASKED}
    flat = _flat(content)
    retain = folder.state.data.retain
    if retain and not across_sets:
        flat["data.retain"] = retain.hash[:12]  # what it holds, not where it lies
    return {key: value for key, value in flat.items() if key not in FREE}


def _flat(content: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in content.items():
        flat |= (
            _flat(value, f"{before}{key}.")
            if isinstance(value, dict) and value
            else {f"{before}{key}": value}
        )
    return flat


def _telling(run: RunFacts, others: Sequence[RunFacts], across_sets: bool) -> dict[str, Any]:
    """The settings in which a run's group differs from another of its kind."""
    mine = _settings(run.folder, across_sets)
    kind = _kind(run, across_sets)
    theirs = [_settings(other.folder, across_sets) for other in others if _kind(other, across_sets) == kind]
    return {
        key: value
        for key, value in mine.items()
        if any(key not in other or other[key] != value for other in theirs)
    }


def _spreads(sides: Sequence[Mapping[str, float]], names: Iterable[str]) -> dict[str, Spread]:
    known = {name: [side[name] for side in sides if name in side] for name in names}
    return {name: Spread.of(values) for name, values in known.items() if values}
