"""Tasks of lm-evaluation-harness by name, from its own collection or from a folder of YAML files."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lm_eval.api.metrics import mean
from lm_eval.api.registry import metric_registry
from lm_eval.tasks import TaskManager

from ...errors import InputError, Problem, nearest
from ...hub import ask, is_hub_id
from ...progress import say
from ...storage import hash_rows
from ...trust import FLAG, is_trusted
from .documents import broken_documents, judged_by_lm_eval
from .foreign import ForeignCode, as_data, bound_templates

#: Seed of the examples that few-shot prompts show, as lm-eval has it.
FEW_SHOT_SEED = 1234
#: Metrics of a question that lm-eval computes where it judges, by kind of task; others it leaves out without a word.
SCORED = {
    "loglikelihood": {"acc"},
    "multiple_choice": {"acc", "acc_norm", "acc_bytes", "acc_mutual_info", "exact_match"},
}


@dataclass(frozen=True)
class HarnessTasks:
    """Loaded tasks.

    tasks:    name → lm-eval's task, for every task without sub-tasks
    figures:  name of a reported figure → the tasks whose questions it averages over: a task itself, or a group that
              lm-eval averages over questions (`mmlu`); any other group, and a tag, is reported task by task
    versions: name of a reported figure → lm-eval's version of that task or group
    """

    tasks: Mapping[str, Any]
    figures: Mapping[str, Sequence[str]]
    versions: Mapping[str, str]

    def describe(self, samples: int | None) -> dict[str, Any]:
        """A hash of the documents (at most `samples` of a task), and version and size of every task."""
        documents = {name: list(islice(task.eval_docs, samples)) for name, task in self.tasks.items()}
        return {
            "hash": hash_rows(row for rows in documents.values() for row in rows),
            "tasks": {
                name: {"version": str(task.VERSION), "documents": len(documents[name])}
                for name, task in self.tasks.items()
            },
            "figures": {name: list(tasks) for name, tasks in self.figures.items()},
        }


def load_tasks(
    names: Sequence[str], include: str | None, samples: int | None = None, named_by: str = "benchmark"
) -> HarnessTasks:
    """Load `names`: tasks, groups or tags of lm-eval, or of the YAML files in the folder `include`, which come first.

    Data sets are read now: from local files where a task names such, else from the hub or its cache.
    Raises `InputError` with every name that is unknown, every task that cannot be loaded or is not measured here, and
    every document, of the first `samples`, that cannot be asked or judged.
    """
    bound_templates()
    manager = _manager(names, include)
    problems = [_unknown(name, manager, named_by) for name in names if name not in manager.task_index]
    tasks: dict[str, Any] = {}
    figures: dict[str, list[str]] = {}
    versions: dict[str, str] = {}
    for name in names:
        if name not in manager.task_index:
            continue
        try:
            with as_data():
                loaded = manager.load([name])
        except Exception as error:  # whatever datasets, lm-eval, templates and a task's own code raise
            problems.append(_broken(name, error))
            continue
        tasks |= loaded["tasks"]
        for task in loaded["tasks"].values():
            if is_hub_id(task.DATASET_PATH or ""):
                ask("data set", task.DATASET_PATH)
        group = loaded.get("groups", {}).get(name)
        if group is not None and _averages_over_questions(group):
            figures[name], versions[name] = list(loaded["tasks"]), group.version
        else:
            for task_name, task in loaded["tasks"].items():
                figures[task_name], versions[task_name] = [task_name], str(task.VERSION)
    for name, task in tasks.items():
        problems += _not_measured(name, task) or broken_documents(name, task, samples)
        task.set_fewshot_seed(FEW_SHOT_SEED)
    if problems:
        raise InputError(problems)
    return HarnessTasks(tasks, figures, versions)


def means(task: Any) -> set[str]:
    """The metrics of a task that are means over its questions: accuracies, but no perplexity and no F1 of a set."""
    averaged = {metric for metric, aggregation in task.aggregation().items() if aggregation is mean}
    return averaged & SCORED.get(task.OUTPUT_TYPE, averaged) if judged_by_lm_eval(task) else averaged


def _manager(names: Sequence[str], include: str | None) -> TaskManager:
    if include is not None:
        if not Path(include).is_dir():
            raise InputError(
                Problem("path", f"there is no folder {include!r}.",
                        "Name a folder with lm-eval's task files (YAML), or none for lm-eval's own tasks.")
            )  # fmt: skip
        own = TaskManager(include_path=include, include_defaults=False)
        if all(name in own.task_index for name in names):
            return own
    say("Indexing the tasks of lm-eval.")
    return TaskManager(include_path=include)


def _averages_over_questions(group: Any) -> bool:
    rules = group.aggregate_metric_list or []
    return bool(rules) and all(rule.aggregation == "mean" and rule.weight_by_size for rule in rules)


def _unknown(name: str, manager: TaskManager, named_by: str) -> Problem:
    near = ", ".join(repr(other) for other in difflib.get_close_matches(name, manager.all_tasks, n=3))
    return Problem(
        named_by, f"lm-eval has no task {name!r}.",
        (f"Did you mean {near}? " if near else "") + "`lm-eval ls tasks` lists them; a YAML file with a mistake in it "
        "is left out.",
    )  # fmt: skip


def _broken(name: str, error: Exception) -> Problem:
    if isinstance(error, StopIteration):  # of a data file without a line
        return Problem(f"task {name}", "its data hold no document.", "Give at least one.")
    foreign = next((cause for cause in _causes(error) if isinstance(cause, ForeignCode)), None)
    if foreign is not None:
        return Problem(
            f"task {name}", f"its file has {foreign} run, and a file from anyone gives no leave to.",
            f"Where you trust the folder, say so on the command line of this call: {FLAG}.",
        )  # fmt: skip
    causes = [error] if error.__cause__ is None else [error, error.__cause__]
    reason = " ".join(": ".join(f"{type(cause).__name__}: {cause}" for cause in causes).split())[:300]
    if isinstance(error, IndexError):
        reason += " (there is no document, or the first one's answer is none of its choices)"
    return Problem(
        f"task {name}", f"it cannot be loaded: {reason}.",
        "Check its YAML file and data, and the connection where the data are on the hub.",
    )  # fmt: skip


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _not_measured(name: str, task: Any) -> list[Problem]:
    problems = []
    unknown = [
        metric
        for metric, function in getattr(task, "_metric_fn_list", {}).items()
        if function is None and judged_by_lm_eval(task)
    ]
    if getattr(task, "UNSAFE_CODE", False):
        problems.append(
            Problem(
                f"task {name}", "it runs code that the model writes.", "Run it with lm-eval, in a sandbox."
            )
        )
    elif unknown:
        loaded = "nor could" if is_trusted() else f"nor without {FLAG} may"
        reason = f"its metric {unknown[0]!r} is none of lm-eval's, {loaded} the library `evaluate` load it."
        problems.append(Problem(f"task {name}", reason, nearest(unknown[0], metric_registry)))
    elif not means(task):
        problems.append(
            Problem(f"task {name}", "none of its metrics is a mean over questions, so it has no interval here.",
                    "Run it with lm-eval, or for perplexity use --benchmark memorization --forget FILE.")
        )  # fmt: skip
    return problems
