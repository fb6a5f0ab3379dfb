"""Any tasks of lm-evaluation-harness as a benchmark: `--benchmark lm-eval --forget hellaswag,piqa`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from ...data.encoding import Encoder
from ...errors import InputError, Problem
from ...evaluation.log import EvaluationLog, QuestionRecord
from ...evaluation.metric import Metric, mean_with_interval
from ..benchmark import Benchmark

#: Changes when the same log would give other figures; the versions of lm-eval's tasks are added to it.
METRIC_VERSION = "1"


class HarnessBenchmark(Benchmark):
    """Tasks of lm-eval, prompted and scored by it exactly as `lm-eval run --tasks …` would.

    names:   tasks, groups or tags of lm-eval
    include: a folder with task files (YAML) of one's own; its tasks come before lm-eval's of the same name
    samples: at most this many questions of a task, the first ones; None for all
    named_by: the option that the names follow from, for messages

    The log holds a set for every task; a record's `scores` are the task's metrics that are means over questions.
    Figures are `{task}_{metric}`, and `{group}_{metric}` over all questions of a group such as `mmlu`.
    Raises InputError where lm-eval is not installed, and for tasks and documents that cannot be asked or judged.
    """

    name = "lm-eval"

    def __init__(
        self,
        names: Sequence[str],
        include: str | None = None,
        samples: int | None = None,
        named_by: str = "benchmark",
    ):
        if not names:
            raise InputError(
                Problem(named_by, "no task is named.", "Name tasks of lm-eval, separated by commas.")
            )
        load_tasks = _installed()
        self.samples = samples
        self.tasks = load_tasks(names, include, samples, named_by)
        versions = ", ".join(f"{name} {number}" for name, number in self.tasks.versions.items())
        self.metric_version = f"{METRIC_VERSION} ({versions})"
        self.data = {"path": include, "lm_eval": version("lm_eval"), **self.tasks.describe(samples)}

    def measure(self, model: Any, encoder: Encoder) -> EvaluationLog:
        """Ask the questions of all tasks but those that generate text."""
        sets = self._answer(model, encoder, generating=False)
        return self.log_of(sets, encoder)

    def generate(self, model: Any, encoder: Encoder, log: EvaluationLog) -> EvaluationLog:
        """Ask the questions of the tasks that generate text."""
        return replace(
            log, sets={**log.sets, **self._answer(model, encoder, generating=True)}, generated=True
        )

    def _answer(self, model: Any, encoder: Encoder, *, generating: bool) -> dict[str, list[QuestionRecord]]:
        from .answers import answer_task
        from .model import InMemoryModel, undisturbed

        chosen = {
            name: task for name, task in self.tasks.tasks.items()
            if (task.OUTPUT_TYPE == "generate_until") == generating
        }  # fmt: skip
        records = {}
        with undisturbed(model):
            wrapped = InMemoryModel(model, encoder.tokenizer)
            for number, (name, task) in enumerate(chosen.items(), start=1):
                wrapped.description = f"{name} ({number} of {len(chosen)})"
                records[name] = answer_task(wrapped, name, task, self.samples)
        return records

    def metrics(self, log: EvaluationLog, reference: EvaluationLog | None = None) -> dict[str, Metric]:
        """The mean of every metric over the questions of every task and group that was asked for."""
        metrics = {}
        for figure, tasks in log.data["figures"].items():
            records = [record for task in tasks for record in log.sets.get(task, [])]
            for metric in dict.fromkeys(name for record in records for name in record.scores):
                values = [record.scores[metric] for record in records if metric in record.scores]
                metrics[f"{figure}_{metric}"] = mean_with_interval(values)
        return metrics

    def forget_score(self, metrics: Mapping[str, Metric]) -> float:
        """NaN: these tasks say what a model can do, not what it has forgotten."""
        return math.nan

    def utility_metric(self, metrics: Mapping[str, Metric], *, generated: bool) -> str | None:
        """None: which figure counts is for the one who chose the tasks to say."""
        return None


def _installed() -> Any:
    try:
        from .tasks import load_tasks
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != "lm_eval":
            raise
        raise InputError(
            Problem("benchmark", "it needs lm-evaluation-harness, which is not installed.",
                    "pip install 'expunge[eval]'")
        ) from None  # fmt: skip
    return load_tasks
