"""A model answers the questions of one lm-eval task; its answers become records of an evaluation log."""

from __future__ import annotations

from typing import Any

from lm_eval import evaluate

from ...evaluation.log import Likelihood, QuestionRecord
from .documents import right_choice
from .model import InMemoryModel
from .tasks import FEW_SHOT_SEED, means


def answer_task(model: InMemoryModel, name: str, task: Any, samples: int | None) -> list[QuestionRecord]:
    """Ask every question of a task (the first `samples`); the records are in the task's order.

    A record's `answer` is the likelihood of the right choice (or of the one continuation that is asked for), its
    `perturbed` those of the other choices, its `scores` the metrics that are means over questions. `answer` is empty
    where text is generated, and where code of the task's own says what is right.
    """
    # The examples are drawn on from question to question: for every model from the beginning.
    task.set_fewshot_seed(FEW_SHOT_SEED)
    results = evaluate(
        lm=model, task_dict={"tasks": {name: task}, "groups": {}}, limit=samples, bootstrap_iters=0
    )
    by_question: dict[int, list[dict[str, Any]]] = {}
    for sample in results["samples"][name]:  # one for every question and answer filter
        by_question.setdefault(sample["doc_id"], []).append(sample)
    return [_record(model, task, by_question[index]) for index in sorted(by_question)]


def _record(model: InMemoryModel, task: Any, samples: list[dict[str, Any]]) -> QuestionRecord:
    first = samples[0]
    likelihoods = _likelihoods(model, first)
    right = 0 if task.OUTPUT_TYPE == "loglikelihood" else right_choice(task, first["doc"])
    generated = task.OUTPUT_TYPE == "generate_until"
    return QuestionRecord(
        index=first["doc_id"],
        answer=Likelihood(0.0, 0) if right is None else likelihoods[right],
        perturbed=tuple(other for place, other in enumerate(likelihoods) if place != right),
        generation=str(first["resps"][0][0]) if generated else None,
        truth=str(first["target"]) if generated else None,
        scores=_scores(task, samples),
    )


def _scores(task: Any, samples: list[dict[str, Any]]) -> dict[str, float]:
    return {
        metric if sample["filter"] == "none" else f"{metric}_{sample['filter']}": float(sample[metric])
        for sample in samples
        for metric in sample["metrics"]
        if metric in means(task)
    }


def _likelihoods(model: InMemoryModel, sample: dict[str, Any]) -> list[Likelihood]:
    """The likelihoods of the scored continuations; none where text was generated."""
    return [
        Likelihood(-float(response[0][0]), model.tokens.get(tuple(arguments[:2]), 0))
        for arguments, response in zip(sample["arguments"], sample["resps"], strict=True)
        if isinstance(response[0], tuple)
    ]
