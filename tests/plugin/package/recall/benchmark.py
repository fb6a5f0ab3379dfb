"""How likely its answers are to a model, in the mean a token."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from expunge.benchmarks.benchmark import Benchmark
from expunge.data.encoding import Encoder
from expunge.data.samples import QuestionAnswer, Sample
from expunge.errors import InputError, Problem
from expunge.evaluation.likelihood import answer_losses
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.evaluation.metric import Metric, mean_with_interval
from expunge.storage import hash_rows


def read_lines(file: str, where: str) -> list[Sample]:
    if not Path(file).is_file():
        raise InputError(
            Problem(where, f"there is no file {file!r}.", "Name a folder with forget.tsv and keep.tsv.")
        )
    with open(file, encoding="utf-8", newline="") as lines:
        return [QuestionAnswer(question, answer) for question, answer in csv.reader(lines, delimiter="\t")]


class RecallBenchmark(Benchmark):
    """`{forget,retain}_recall`: the geometric mean probability of an answer's tokens, averaged over the answers."""

    name = "recall"
    metric_version = "1"

    def __init__(self, sets: Mapping[str, Sequence[Sample]], path: str, encoder: Encoder, shortest: int = 1):
        examples = {
            name: [one for s in samples for one in s.encode(encoder)] for name, samples in sets.items()
        }
        self.sets = {name: [e for e in part if e.label_count >= shortest] for name, part in examples.items()}
        rows = ([name, example.input_ids] for name, part in self.sets.items() for example in part)
        self.data: dict[str, Any] = {"path": path, "hash": hash_rows(rows)}

    def measure(self, model: Any, encoder: Encoder) -> EvaluationLog:
        sets = {}
        for name, examples in self.sets.items():
            losses = answer_losses(model, examples, encoder.pad_token_id, description=f"Recalling {name}")
            sets[name] = [
                QuestionRecord(number, Likelihood(loss.loss, loss.tokens))
                for number, loss in enumerate(losses)
            ]
        return self.log_of(sets, encoder)

    def generate(self, model: Any, encoder: Encoder, log: EvaluationLog) -> EvaluationLog:
        return log  # there is nothing to generate

    def metrics(self, log: EvaluationLog, reference: EvaluationLog | None) -> dict[str, Metric]:
        return {
            f"{name}_recall": mean_with_interval([math.exp(-r.answer.average_loss) for r in records])
            for name, records in log.sets.items()
            if records
        }

    def forget_score(self, metrics: Mapping[str, Metric]) -> float:
        return 1.0 - metrics["forget_recall"].value

    def utility_metric(self, metrics: Mapping[str, Metric], *, generated: bool) -> str:
        return "retain_recall"
