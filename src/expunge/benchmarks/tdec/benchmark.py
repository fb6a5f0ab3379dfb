"""TDEC (Jang et al. 2023; LoKU §4.1): memorisation accuracy and extraction likelihood of token sequences."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ...data.encoding import Encoder, Example
from ...data.samples import Sample
from ...errors import InputError, Problem
from ...evaluation.likelihood import AnswerLoss, answer_losses
from ...evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from ...evaluation.metric import Metric, mean_with_interval
from ...evaluation.set_metrics import answer_metrics
from ...storage import hash_rows
from ..benchmark import Benchmark
from .extraction import NGRAM, extraction_likelihoods
from .files import LENGTH

#: The score of a record that `generate` adds.
EXTRACTION = "extraction_likelihood"

#: The metrics that the forget score rests on.
SCORED = ("forget_extraction_likelihood", "forget_memorization_accuracy")


class TdecBenchmark(Benchmark):
    """Metrics of the forget sequences and, where there are any, of texts to keep.

    {set}_memorization_accuracy:  mean share of tokens, all but the first, that are the model's first choice
    forget_extraction_likelihood: mean EL₁₀ (see `extraction`), where generated
    {set}_probability, _extraction_strength, _perplexity: see `answer_metrics`
    No special tokens are added to the sequences. Before texts stands BOS where the tokenizer sets one.
    """

    name = "tdec"
    metric_version = "1"

    def __init__(
        self,
        forget: Sequence[Sample],
        retain: Sequence[Sample],
        encoder: Encoder,
        data: Mapping[str, Any],
    ):
        """data: where the sequences came from, copied into the log; their hash is added.

        Raises InputError for sequences that are too short or hold tokens that the tokenizer does not know.
        """
        self.sets = {
            "forget": [example for sample in forget for example in sample.encode(encoder)],
            "retain": [example for sample in retain for example in sample.encode(encoder)],
        }
        _check(self.sets["forget"], len(encoder.tokenizer), str(data["path"]))
        rows = ([name, example.input_ids] for name, examples in self.sets.items() for example in examples)
        self.data = {**data, "hash": hash_rows(rows)}

    def forget_part(self) -> TdecBenchmark:
        part = copy.copy(self)
        part.sets = {name: items if name == "forget" else [] for name, items in self.sets.items()}
        return part

    def measure(self, model: Any, encoder: Encoder) -> EvaluationLog:
        examples = [example for part in self.sets.values() for example in part]
        losses = iter(answer_losses(model, examples, encoder.pad_token_id, description="Evaluating TDEC"))
        sets = {
            name: [_record(index, next(losses)) for index, _ in enumerate(part)]
            for name, part in self.sets.items()
        }
        return self.log_of(sets, encoder)

    def generate(self, model: Any, encoder: Encoder, log: EvaluationLog) -> EvaluationLog:
        """`log` with the extraction likelihood of every forget sequence."""
        records = log.sets["forget"]
        extraction = extraction_likelihoods(
            model,
            [example.input_ids for example in self.sets["forget"]],
            [record.answer.tokens - (record.correct or 0) for record in records],
        )
        scored = [
            replace(record, scores={**record.scores, EXTRACTION: value})
            for record, value in zip(records, extraction.likelihoods, strict=True)
        ]
        return replace(log, sets={**log.sets, "forget": scored}, generated=True)

    def truths(self) -> dict[str, list[str | None]]:
        return {name: [None] * len(part) for name, part in self.sets.items()}

    def metrics(self, log: EvaluationLog, reference: EvaluationLog | None) -> dict[str, Metric]:
        """`reference` plays no part: a run aims at the values on held-out text (`Thresholds`)."""
        metrics: dict[str, Metric] = {}
        for name, records in log.sets.items():
            for metric, value in answer_metrics(name, records).items():
                # Where all tokens but the first are labels, exact memorisation is MA.
                metrics[metric.replace("exact_memorization", "memorization_accuracy")] = value
        if log.generated:
            written = [record.scores[EXTRACTION] for record in log.sets["forget"]]
            metrics["forget_extraction_likelihood"] = mean_with_interval(written)
        return metrics

    def forget_score(self, metrics: Mapping[str, Metric]) -> float:
        """1 − the mean of memorisation accuracy and extraction likelihood, of the first alone where not generated."""
        there = [metrics[name].value for name in SCORED if name in metrics]
        return 1.0 - sum(there) / len(there)


def _record(index: int, loss: AnswerLoss) -> QuestionRecord:
    return QuestionRecord(
        index=index, answer=Likelihood(loss.loss, loss.tokens), correct=loss.correct, strength=loss.strength
    )


def _check(examples: Sequence[Example], vocabulary: int, source: str) -> None:
    problems = []
    for row, example in enumerate(examples, start=1):
        where = f"{source}, sequence {row} of the set"
        if len(example) <= NGRAM:
            problems.append(
                Problem(where, f"its {len(example)} tokens are too few for n-grams of {NGRAM}.",
                        f"Give sequences of {LENGTH} tokens.")
            )  # fmt: skip
        if max(example.input_ids, default=0) >= vocabulary:
            problems.append(
                Problem(where, f"it holds the token {max(example.input_ids)}, and the tokenizer knows {vocabulary}.",
                        "Use the tokenizer's own model, or the sequences as text.")
            )  # fmt: skip
    if problems:
        raise InputError(problems[:10])
