"""The benchmark for a user's own data: how much of it the model still has by heart.

It needs no paraphrases and no reference model: likelihood, exact memorisation and extraction strength of the
forget and the retain material, and ROUGE where the material has prompts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..data.encoding import Encoder, Example
from ..errors import InputError, Problem
from .benchmark import Benchmark
from .generation import answers_to_prompts
from .likelihood import AnswerLoss, answer_losses
from .log import EvaluationLog, Likelihood, QuestionRecord
from .metric import Metric, mean_with_interval
from .rouge import generated_pairs, rouge_scores


@dataclass(frozen=True)
class Material:
    """One piece of the user's data: an encoded question, conversation or chunk of text.

    prompt, truth: token ids that a generation starts from and the text that it is compared with; plain text
                   has neither, and nothing is generated for it
    """

    example: Example
    prompt: list[int] | None = None
    truth: str | None = None


class MemorizationBenchmark(Benchmark):
    """`{forget,retain}_{probability,exact_memorization,extraction_strength}`, and `_rouge` where generated.

    probability:         mean exp(−average loss)
    exact_memorization:  mean share of answer tokens that are the model's first choice under teacher forcing
    extraction_strength: mean 1 − k/T (see `AnswerLoss`)
    rouge:               mean ROUGE-L recall of the greedy answers to the prompts
    EOS counts in the first three wherever the encoding ends an answer with one.
    """

    name = "memorization"
    metric_version = "1"

    def __init__(
        self,
        forget: Sequence[Material],
        retain: Sequence[Material] = (),
        max_new_tokens: int = 200,
        data: Mapping[str, Any] | None = None,
    ):
        """`data` describes where the material came from and is copied into the log.

        Raises InputError where there is nothing to forget, and for material without an answer in its window.
        """
        self.sets = {"forget": list(forget), "retain": list(retain)}
        self.max_new_tokens = max_new_tokens
        self.data = dict(data or {})
        problems = [
            Problem(
                f"data.{name}, row {row}",
                "none of its answer fits into the longest sequence.",
                "Shorten what comes before the answer, or raise the maximal length.",
            )
            for name, items in self.sets.items()
            for row, item in enumerate(items, start=1)
            if not item.example.label_count
        ]
        if not forget:
            problems.append(
                Problem("data.forget", "there is nothing in it to forget.", "Give at least one row.")
            )
        if problems:
            raise InputError(problems)

    def measure(self, model: Any, encoder: Encoder) -> EvaluationLog:
        examples = [item.example for items in self.sets.values() for item in items]
        losses = iter(answer_losses(model, examples, encoder.pad_token_id, description="Evaluating"))
        sets = {
            name: [_record(index, item, next(losses)) for index, item in enumerate(items)]
            for name, items in self.sets.items()
        }
        return EvaluationLog(self.name, self.metric_version, False, sets, data=self.data)

    def generate(self, model: Any, encoder: Encoder, log: EvaluationLog) -> EvaluationLog:
        """Answers to the prompts; records of material without one are left as they are."""
        sets = {}
        for name, items in self.sets.items():
            records = list(log.sets[name])
            prompted = [row for row, item in enumerate(items) if item.prompt is not None]
            texts = answers_to_prompts(
                model,
                encoder,
                [items[row].prompt or [] for row in prompted],
                [items[row].example for row in prompted],
                [records[row] for row in prompted],
                self.max_new_tokens,
            )
            for row, text in zip(prompted, texts, strict=True):
                records[row] = replace(records[row], generation=text)
            sets[name] = records
        return replace(log, sets=sets, generated=True)

    def metrics(self, log: EvaluationLog, reference: EvaluationLog | None = None) -> dict[str, Metric]:
        """The means over every set that is not empty. `reference` plays no part."""
        found: dict[str, Metric] = {}
        for name, records in log.sets.items():
            if not records:
                continue
            columns: dict[str, list[float]] = {
                "probability": [record.answer.probability for record in records],
                "exact_memorization": [(record.correct or 0) / record.answer.tokens for record in records],
                "extraction_strength": [record.strength or 0.0 for record in records],
                "rouge": [score.rougeL_recall for score in rouge_scores(generated_pairs(records))],
            }
            for metric, values in columns.items():
                if values:
                    found[f"{name}_{metric}"] = mean_with_interval(values)
        return found

    def forget_score(self, metrics: Mapping[str, Metric]) -> float:
        """1 − forget_probability."""
        return 1.0 - metrics["forget_probability"].value

    def utility(self, metrics: Mapping[str, Metric], *, generated: bool = False) -> float:
        """retain_probability; NaN without retain material, as nothing then says what is left of the model."""
        return metrics["retain_probability"].value if "retain_probability" in metrics else math.nan


def _record(index: int, item: Material, loss: AnswerLoss) -> QuestionRecord:
    return QuestionRecord(
        index=index,
        answer=Likelihood(loss.loss, loss.tokens),
        truth=item.truth,
        correct=loss.correct,
        strength=loss.strength,
    )
