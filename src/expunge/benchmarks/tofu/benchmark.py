"""TOFU: fictitious authors to be forgotten, measured against a model that never read about them."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...data.encoding import Encoder, Example
from ...errors import InputError, Problem
from ...evaluation.generation import answers_to_prompts
from ...evaluation.likelihood import AnswerLoss, answer_losses
from ...evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from ...evaluation.metric import Metric
from ...storage import hash_rows
from ..benchmark import Benchmark, Wordings, Workload
from .files import Question, load_questions, set_names
from .logs import read_tofu_log
from .metrics import (
    COMPARED,
    METRIC_VERSION,
    log_truth_ratios,
    shift,
    tofu_metrics,
    wrong_log_probability,
)

if TYPE_CHECKING:
    from ...objectives.loss import Aim

#: Longest generated answer, in tokens, as the TOFU authors generate it.
MAX_NEW_TOKENS = 200
#: TOFU's questions about an author, one after another in its files.
QUESTIONS_AN_AUTHOR = 20
#: Forget qualities whose p-values differ by less than a factor of two: of models that never saw the forget set p is
#: spread evenly between 0 and 1, so most of them are further apart.
QUALITY_RESOLUTION = 0.3


class TofuBenchmark(Benchmark):
    """The forget, retain, real-authors and world-facts questions with their metrics (see `tofu_metrics`).

    path:           a folder with TOFU's files or a data set on the hub
    forget:         `forget01`, `forget05` or `forget10`: which `_perturbed` file is the forget set
    truth_ratio:    `geometric` (the published tables) or `arithmetic` mean over the wrong answers
    max_new_tokens: longest generated answer, in tokens
    samples:        at most this many questions, evenly spaced, of any set but the forget set; None for all
    first:          only the first so many questions of each set, the forget set included; None for all
    Raises InputError for files that are missing or broken and for an unknown truth ratio.
    """

    name = "tofu"
    metric_version = METRIC_VERSION
    compared = COMPARED

    def __init__(
        self,
        path: str | Path,
        forget: str = "forget10",
        truth_ratio: str = "geometric",
        max_new_tokens: int = MAX_NEW_TOKENS,
        samples: int | None = None,
        first: int | None = None,
    ):
        wrong_log_probability(truth_ratio)
        self.truth_ratio = truth_ratio
        self.max_new_tokens = max_new_tokens
        self.sets = {
            name: _evenly(questions[:first], samples if name != "forget" else None)
            for name, questions in load_questions(path, forget).items()
        }
        # Logs name the data by this hash, of what is measured: the attacks alone look at the reworded question.
        rows = {
            name: [
                {key: value for key, value in asdict(question).items() if key not in ("reworded", "row")}
                for question in questions
            ]
            for name, questions in self.sets.items()
        }
        self.names = set_names(forget)
        self.data = {
            "path": str(path),
            "hash": hash_rows(row for part in rows.values() for row in part),
            "hashes": {name: hash_rows(part) for name, part in rows.items()},
            "names": self.names,
            "truth_ratio": truth_ratio,
        }
        self._encoded: tuple[Encoder, list[list[Example]]] | None = None

    def forget_part(self) -> TofuBenchmark:
        part = copy.copy(self)
        part.sets = {name: items if name == "forget" else [] for name, items in self.sets.items()}
        part._encoded = None
        return part

    def measure(self, model: Any, encoder: Encoder) -> EvaluationLog:
        """Measure every answer of every set in one teacher-forced pass."""
        examples = self._examples(encoder)
        self._check(examples, encoder)
        flat = [example for group in examples for example in group]
        measured = iter(answer_losses(model, flat, encoder.pad_token_id, description="Evaluating TOFU"))
        losses = ([next(measured) for _ in group] for group in examples)
        sets = {
            name: [_record(index, question, next(losses)) for index, question in enumerate(part)]
            for name, part in self.sets.items()
        }
        return self.log_of(sets, encoder)

    def generate(self, model: Any, encoder: Encoder, log: EvaluationLog) -> EvaluationLog:
        questions = [question for part in self.sets.values() for question in part]
        texts = iter(
            answers_to_prompts(
                model,
                encoder,
                [encoder.prompt(question.question) for question in questions],
                [answer for answer, *_ in self._examples(encoder)],
                [record for part in log.sets.values() for record in part],
                self.max_new_tokens,
            )
        )
        sets = {
            name: [replace(record, generation=next(texts)) for record in part]
            for name, part in log.sets.items()
        }
        return replace(log, sets=sets, generated=True)

    def workload(self, encoder: Encoder) -> Workload:
        groups = self._examples(encoder)
        return Workload(
            [example for group in groups for example in group],
            [(len(true) - true.label_count, true.label_count) for true, *_ in groups],
            self.max_new_tokens,
            utility_generated=True,
        )

    def wordings(self) -> dict[str, Wordings]:
        questions = self.sets["forget"]
        by_author = (
            len(questions) % QUESTIONS_AN_AUTHOR == 0
        )  # another data set in TOFU's files has other numbers
        return {
            question.question: Wordings(
                (question.reworded,) if question.reworded else (),
                question.perturbed,
                number // QUESTIONS_AN_AUTHOR if by_author else None,
            )
            for number, question in enumerate(questions)
        }

    def settings(self, encoder: Encoder) -> dict[str, Any]:
        return {**encoder.describe(), "max_new_tokens": self.max_new_tokens}

    def truths(self) -> dict[str, list[str | None]]:
        return {name: [question.answer for question in part] for name, part in self.sets.items()}

    def read_log(self, path: str | Path) -> EvaluationLog:
        """Read expunge's own log, the TOFU authors' or open-unlearning's (see `read_tofu_log`)."""
        return read_tofu_log(path)

    def metrics(self, log: EvaluationLog, reference: EvaluationLog | None) -> dict[str, Metric]:
        return tofu_metrics(log, reference, self.truth_ratio)

    def forget_score(self, metrics: Mapping[str, Metric]) -> float:
        """log₁₀ of the forget quality, or 1 − forget_probability where there was no reference."""
        if "forget_quality_log10" in metrics:
            return metrics["forget_quality_log10"].value
        return 1.0 - metrics["forget_probability"].value

    def beyond(
        self, log: EvaluationLog, reference: EvaluationLog | None, before: EvaluationLog | None
    ) -> bool | None:
        """By the truth ratios, where they lie on one side of the reference's."""
        if reference is None:
            return None
        direction = shift(
            *(log_truth_ratios(each.sets["forget"], self.truth_ratio) for each in (log, reference))
        )
        return direction.is_beyond if direction else None

    def best_score(self, metrics: Mapping[str, Metric], aims: Aim) -> float:
        return 0.0 if _by_quality(metrics, aims) else super().best_score(metrics, aims)

    def resolution(self, metrics: Mapping[str, Metric], aims: Aim) -> float:
        return QUALITY_RESOLUTION if _by_quality(metrics, aims) else super().resolution(metrics, aims)

    def _examples(self, encoder: Encoder) -> list[list[Example]]:
        """Of every question, its answers: encoded once for all epochs that are measured with this encoder."""
        if self._encoded is None or self._encoded[0] is not encoder:
            questions = (question for part in self.sets.values() for question in part)
            self._encoded = encoder, [_encode(encoder, question) for question in questions]
        return self._encoded[1]

    def _check(self, examples: list[list[Example]], encoder: Encoder) -> None:
        groups = iter(examples)
        problems = [
            Problem(
                f"{self.data['path']}: {self.names[name]}, row {question.row}",
                f"an answer does not begin within {encoder.max_length} tokens.",
                "Raise data.max_length (`expunge eval`: --max-length), or choose a shorter template.",
            )
            for name, part in self.sets.items()
            for question in part
            if not all(example.label_count for example in next(groups))
        ]
        if problems:
            raise InputError(problems)


def _by_quality(metrics: Mapping[str, Metric], aims: Aim) -> bool:
    """Whether the score is the forget quality."""
    return "forget_quality_log10" in metrics and not (aims == "answers" and "forget_rouge" in metrics)


def _evenly(questions: list[Question], samples: int | None) -> list[Question]:
    if samples is None or samples >= len(questions):
        return questions
    return [questions[index * len(questions) // samples] for index in range(samples)]


def _encode(encoder: Encoder, question: Question) -> list[Example]:
    """The answer first, then the paraphrased one where there is one, then the wrong ones."""
    answers = [question.answer, *([question.paraphrased] if question.paraphrased is not None else [])]
    return [encoder.answer(question.question, answer) for answer in (*answers, *question.perturbed)]


def _record(index: int, question: Question, losses: list[AnswerLoss]) -> QuestionRecord:
    answer, *others = losses
    likelihoods: Iterator[Likelihood] = (Likelihood(loss.loss, loss.tokens) for loss in others)
    return QuestionRecord(
        index=index,
        answer=Likelihood(answer.loss, answer.tokens),
        paraphrased=next(likelihoods) if question.paraphrased is not None else None,
        perturbed=tuple(likelihoods),
        truth=question.answer,
        correct=answer.correct,
        strength=answer.strength,
    )
