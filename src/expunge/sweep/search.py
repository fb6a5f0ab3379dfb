"""The trials of a sweep, by one worker or many that share its folder and its storage.

Every trial is a run in `trials/NNN`. A worker holds the trial's lock for as long as it lives. A trial that the storage
says is running while nobody holds its lock was left by a worker that died: whoever comes next goes on with its run,
which becomes bit for bit what it would have been.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO
from uuid import uuid4

import torch
from optuna import Trial
from optuna.study import Study
from optuna.trial import TrialState

from ..benchmarks.registry import benchmarks
from ..errors import Diverged, InputError, Problem, RunFailed
from ..folder.begun import is_begun
from ..folder.machine import now
from ..folder.run import RunFolder
from ..folder.sweep import SweepFolder, SweepTrial, TrialResult
from ..models.processes import processes
from ..progress import say
from ..recipe import Recipe
from ..recipe.loading import naming_recipe, read_content
from ..report.sweep import shown, write_sweep_report
from ..run.baseline import measure_baseline
from ..run.importance import store_importance
from ..run.inputs import Inputs
from ..run.single import run_recipe
from ..storage import atomic_folder, hash_rows
from .checking import Searched
from .choice import Scores, best, result_of, with_front, worth
from .locks import held, take
from .pruning import LEFT, MedianPruning
from .space import Space, read_space
from .study import check_address, check_sampler, check_storage, open_study

RESULT = "result"


def sweep(
    recipe: str | Path | Mapping[str, Any],
    space: str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]],
    overrides: Sequence[str] = (),
    *,
    trials: int,
    output: str | Path | None = None,
    sampler: str = "random",
    prune: bool = True,
    storage: str | None = None,
    resume: bool = False,
) -> SweepFolder:
    """Run trials of a recipe, each with other values of the keys in `space`, until there are so many.

    recipe:    a YAML file or its content
    space:     a YAML file or its content: key → list of values, or {low, high, log | step, int}; or a list of trials,
               each key → value
    overrides: `key.sub=value`
    trials:    how many there are to be, over all workers
    output:    folder of the sweep; None: the recipe's `output` with `-sweep`
    sampler:   random, the papers' protocol, or tpe
    prune:     whether a trial is left that is under the median of the finished ones at the same epoch
    storage:   address of a database in place of the journal in the folder
    resume:    go on with a sweep that was interrupted, or join its other workers

    Returns its folder once no trial is left to begin. Raises `InputError` for wrong input, before anything is written.
    """
    with naming_recipe(recipe):
        searched = _read(recipe, space, overrides, trials, sampler, storage)
        first, inputs = searched.check()
        folder = SweepFolder(Path(output or f"{first.output_folder}-sweep").resolve())
        facts = {
            "study": uuid4().hex,
            "storage": storage,
            "space": searched.space.given,
            "sampler": sampler,
            "prune": prune,
            "inputs": inputs,
            "trials": trials,
        }
        study = _open(folder, searched, first, facts, resume)
        worker = _Worker(searched, folder, study, trials)
        worker.record()
        while (claimed := worker.claim()) is not None:
            trial, lock = claimed
            with lock:
                worker.run(trial)
            gc.collect()  # the trainer's cycles hold its optimiser
            worker.record()
    say(f"Report: {folder.report_file}")
    results = [trial.result for trial in folder.state.begun if trial.result]
    if results and all(result.state == "failed" for result in results):
        raise RunFailed(
            f"None of the {len(results)} trials could be run; the last one: {results[-1].stopped}"
        )
    return folder


def _is_of_baseline(problem: Problem) -> bool:
    """Whether it is about a log that the sweep itself has measured: the model is another one by now."""
    return problem.where.startswith(("evaluation.before", "evaluation.reference"))


def _read(
    recipe: str | Path | Mapping[str, Any],
    space: str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]],
    overrides: Sequence[str],
    trials: int,
    sampler: str,
    storage: str | None,
) -> Searched:
    """Recipe and space, once the arguments are possible. Raises `InputError` with the problems of all."""
    spaces: list[Space] = []
    contents: list[tuple[str, dict[str, Any]]] = []
    problems = []
    checks: list[Callable[[], None]] = [
        lambda: contents.append(read_content(recipe, overrides)),
        lambda: spaces.append(read_space(space)),
        lambda: check_sampler(sampler),
        lambda: check_address(storage),
    ]
    for check in checks:
        try:
            check()
        except InputError as error:
            problems += error.problems
    most = len(spaces[0].listed) if spaces and spaces[0].listed is not None else trials
    if not 1 <= trials <= most:
        reason = (
            f"{trials} is no number of trials"
            if trials < 1
            else f"the space lists {most} trials, not {trials}"
        )
        problems.append(
            Problem("--trials", f"{reason}.", f"Use 1 to {most}." if trials > most else "Use 1 or more.")
        )
    if processes().num_processes > 1:
        problems.append(
            Problem(
                "sweep",
                "each trial of a sweep is run by one process.",
                "Start several workers, each by itself.",
            )
        )
    if problems:
        raise InputError(problems)
    return Searched(*contents[0], spaces[0])


def _open(
    folder: SweepFolder, searched: Searched, first: Recipe, facts: dict[str, Any], resume: bool
) -> Study:
    """The study of the sweep, which is created unless it is there."""
    content = dict(searched.content)
    is_begun(folder.path, folder.state_file, resume)  # raises before there is a lock
    with held(folder.lock):
        if is_begun(folder.path, folder.state_file, resume):
            same = {**facts, "seed": first.seed, "storage": facts["storage"] or folder.state.storage}
            folder.check_same(content, same)
            folder.update(trials=max(facts["trials"], folder.state.trials))
        else:
            check_storage(facts["storage"])
            folder.create(first.run_name, first.seed, content, facts)
        study = open_study(folder)
        if searched.space.listed is not None:
            for number in range(len(study.get_trials(deepcopy=False)), facts["trials"]):
                study.enqueue_trial(searched.space.parameters(number))
    return study


@dataclass
class _Worker:
    """One of the processes that share a sweep. trials: how many it is to have, over all"""

    searched: Searched
    folder: SweepFolder
    study: Study
    trials: int

    def claim(self) -> tuple[Trial, TextIO] | None:
        """A trial and its lock: one that a worker left when it died, else a new one; None where there are enough."""
        with held(self.folder.lock):
            begun = [
                each for each in self.study.get_trials(deepcopy=False) if each.state != TrialState.WAITING
            ]
            for left in begun:
                if left.state != TrialState.RUNNING:
                    continue
                lock = take(self.folder.trial_lock(left.number))
                if lock is not None:
                    say(f"Trial {left.number}: its worker is gone, so it is gone on with here.")
                    # optuna has no other way back to a trial that was asked for.
                    return self._drawn(Trial(self.study, left._trial_id)), lock
            if len(begun) >= self.trials:
                return None
            trial = self.study.ask()
            lock = take(self.folder.trial_lock(trial.number), wait=True)
            assert lock is not None
            return self._drawn(trial), lock

    def _drawn(self, trial: Trial) -> Trial:
        """The trial with a value of every key; those that it has already stay."""
        for key, values in self.searched.space.keys.items():
            values.draw(key, trial)
        return trial

    def run(self, trial: Trial) -> None:
        """Run a trial from where it is to its end, and tell the study."""
        run = self.folder.trial(trial.number)
        values = self.searched.space.drawn(trial.params)
        say(
            f"Trial {trial.number}, of {self.trials} in all: "
            + ", ".join(f"{key}={shown(values[key])}" for key in values)
        )
        try:
            recipe = self._prepared(trial.number, values)
            inputs = Inputs(recipe)
            scores = Scores(inputs, self.folder.state.seed or 0)
            # A method that finds its rate trains several times over.
            prunes = self.folder.state.prune and not inputs.method.finds_rate
            run_recipe(recipe, resume=True, callbacks=[MedianPruning(trial, run, scores)] if prunes else [])
            run.reload()
            result = result_of(run, scores, LEFT in trial.user_attrs)
        except Diverged as error:
            result = TrialResult(state="diverged", score=None, utility=None, stopped=str(error))
        except (InputError, torch.OutOfMemoryError, MemoryError) as error:
            if isinstance(error, InputError) and any(_is_of_baseline(each) for each in error.problems):
                raise  # it is no fault of the values, and every further trial would fail alike
            say(f"Trial {trial.number} failed, and the sweep goes on without it: {error}")
            result = TrialResult(state="failed", score=None, utility=None, stopped=str(error))
        shutil.rmtree(run.checkpoints, ignore_errors=True)  # its model has been handed over
        trial.set_user_attr(RESULT, result.model_dump(mode="json"))
        if result.state == "pruned":
            self.study.tell(trial, state=TrialState.PRUNED)
        else:
            self.study.tell(trial, worth(result.choosing, result.utility, result.qualified))

    def _prepared(self, number: int, values: Mapping[str, Any]) -> Recipe:
        """The recipe of a trial, which takes over what an earlier one has measured of the same."""
        recipe = self.searched.recipe(values)
        key = _baseline_key(recipe)
        with held(self.folder.baseline_lock(key)):
            baseline = measure_baseline(
                self.searched.recipe(values, name="baseline"), self.folder.baseline(key).path
            )
        logs = {side: baseline.evaluation(side) for side in ("before", "reference")}
        given = recipe.importance.model_fields_set
        recipe = self.searched.recipe(
            values,
            name=f"{recipe.run_name}-{number:03}",
            output=str(self.folder.trial(number).path),
            evaluation={side: str(log) for side, log in logs.items() if log.exists()},
            importance={} if "folder" in given else {"folder": str(self.folder.importance)},
        )
        if recipe.adapter.measured:
            with held(self.folder.importance_lock):
                store_importance(recipe)
        return recipe

    def record(self) -> None:
        """Write down how far the sweep has come, with its report and the best model so far."""
        with held(self.folder.lock):
            self.folder.reload()
            state = self.folder.state
            trials = with_front(
                [
                    SweepTrial(
                        number=each.number,
                        values=self.searched.space.drawn(each.params),
                        result=each.user_attrs[RESULT] if each.state.is_finished() else None,
                    )
                    for each in self.study.get_trials(deepcopy=False)
                    if each.state != TrialState.WAITING
                ]
            )
            chosen = best(trials)
            over = sum(trial.result is not None for trial in trials) >= state.trials
            deliverable = None
            if chosen is not None:
                deliverable = self.folder.trial(chosen.number).state.deliverable
                if (chosen.number, deliverable) != (state.chosen, state.deliverable):
                    self._hand_over(chosen.number, deliverable, state.deliverable)
            self.folder.update(
                state="done" if over else "running",
                finished=state.finished or now() if over else None,
                begun=[trial.model_dump(mode="json") for trial in trials],
                chosen=chosen.number if chosen else None,
                deliverable=deliverable,
                verdict=self._verdict([chosen] if chosen else trials),
            )
            write_sweep_report(self.folder.path)

    def _hand_over(self, number: int, deliverable: str, earlier: str | None) -> None:
        """Copy the model of a trial, in place of that of another."""
        if earlier is not None and earlier != deliverable:
            shutil.rmtree(self.folder.path / earlier, ignore_errors=True)
        with atomic_folder(self.folder.path / deliverable) as partial:
            shutil.copytree(self.folder.trial(number).path / deliverable, partial, dirs_exist_ok=True)

    def _verdict(self, trials: Sequence[SweepTrial]) -> dict[str, Any] | None:
        """The first of the verdicts on the runs of these trials."""
        runs: list[RunFolder] = [self.folder.trial(trial.number) for trial in trials if trial.result]
        verdicts = (run.state.verdict for run in runs if run.state_file.exists())
        return next((verdict.model_dump(mode="json") for verdict in verdicts if verdict), None)


def _baseline_key(recipe: Recipe) -> str:
    """The same for recipes whose original and reference give the same logs, by the same questions."""
    content = recipe.model_dump(mode="json", include={"model", "data", "evaluation"})
    drawn = benchmarks[recipe.benchmark].holds_out or recipe.data.retains_itself
    return hash_rows([content, recipe.seed if drawn else None])[:16]
