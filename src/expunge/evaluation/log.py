"""The evaluation log: what was measured, by question; enough to compute every metric without the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem
from ..storage import read_json
from .metric import Metric

SCHEMA = "expunge.evaluation/1"


@dataclass(frozen=True)
class Likelihood:
    """How likely an answer is.

    loss:   summed negative log-likelihood over its label tokens, in nats
    tokens: number of label tokens, EOS included
    """

    loss: float
    tokens: int

    @property
    def average_loss(self) -> float:
        """Nats per label token; NaN for an answer without any."""
        return self.loss / self.tokens if self.tokens else math.nan

    @property
    def probability(self) -> float:
        """exp(−average loss): the geometric mean of the token probabilities."""
        return math.exp(-self.average_loss)


@dataclass(frozen=True)
class QuestionRecord:
    """One question (or text) of an evaluation set.

    answer:      likelihood of the true answer
    paraphrased: that of the paraphrased answer, None where the set has none
    perturbed:   those of the wrong answers
    generation:  the greedy answer, None where nothing was generated
    truth:       the true answer as text, None for material without one
    correct:     tokens of the answer that are the model's first choice under teacher forcing, None if unknown
    strength:    extraction strength of the answer, None if unknown
    scores:      further figures of this question by name, as the benchmark defines them (`el10`, `min_k`, …)
    """

    index: int
    answer: Likelihood
    paraphrased: Likelihood | None = None
    perturbed: tuple[Likelihood, ...] = ()
    generation: str | None = None
    truth: str | None = None
    correct: int | None = None
    strength: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return {
            "index": self.index,
            "answer": _likelihood_to_json(self.answer),
            "paraphrased": None if self.paraphrased is None else _likelihood_to_json(self.paraphrased),
            "perturbed": [_likelihood_to_json(wrong) for wrong in self.perturbed],
            "generation": self.generation,
            "truth": self.truth,
            "correct": self.correct,
            "strength": self.strength,
            "scores": dict(self.scores),
        }

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> QuestionRecord:
        paraphrased = value.get("paraphrased")
        return cls(
            index=value["index"],
            answer=Likelihood(**value["answer"]),
            paraphrased=None if paraphrased is None else Likelihood(**paraphrased),
            perturbed=tuple(Likelihood(**wrong) for wrong in value.get("perturbed", ())),
            generation=value.get("generation"),
            truth=value.get("truth"),
            correct=value.get("correct"),
            strength=value.get("strength"),
            scores=value.get("scores", {}),
        )


@dataclass
class EvaluationLog:
    """Everything that one evaluation of one model found.

    model:  path, fingerprint and adapter of the model, filled in by whoever loaded it
    data:   path, hash and the names of the sets' files
    settings: how the model was asked, where the benchmark leaves that open (see `Benchmark.settings`)
    source: the file that the log was read from, for messages; not part of the log
    """

    benchmark: str
    metric_version: str
    generated: bool
    sets: dict[str, list[QuestionRecord]]
    metrics: dict[str, Metric] = field(default_factory=dict)
    model: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    source: str | None = field(default=None, compare=False)

    @property
    def label(self) -> str:
        """How messages call this log."""
        return self.source or self.model.get("path") or "this evaluation"

    @property
    def finite(self) -> bool:
        """Whether every loss is a number; those of a diverged model are not."""
        return all(
            math.isfinite(likelihood.loss)
            for records in self.sets.values()
            for record in records
            for likelihood in (record.answer, *record.perturbed, record.paraphrased)
            if likelihood is not None
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "benchmark": self.benchmark,
            "metric_version": self.metric_version,
            "model": self.model,
            "data": self.data,
            "settings": self.settings,
            "generated": self.generated,
            "sets": {name: [record.to_json() for record in records] for name, records in self.sets.items()},
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
        }

    @classmethod
    def from_json(cls, value: dict[str, Any], source: str | None = None) -> EvaluationLog:
        """Raises InputError naming `source` for another schema or a missing key."""
        where = source or "evaluation log"
        if value.get("schema") != SCHEMA:
            found = f"its schema is {value.get('schema')!r}, not {SCHEMA!r}."
            raise InputError(Problem(where, found, "Give a log that this version of expunge wrote."))
        try:
            return cls(
                benchmark=value["benchmark"],
                metric_version=value["metric_version"],
                generated=value["generated"],
                sets={
                    name: [QuestionRecord.from_json(row) for row in rows]
                    for name, rows in value["sets"].items()
                },
                metrics={name: Metric.from_json(metric) for name, metric in value["metrics"].items()},
                model=value["model"],
                data=value["data"],
                settings=value.get("settings", {}),
                source=source,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                Problem(where, f"the log is incomplete or damaged ({error!r}).", "Evaluate the model again.")
            ) from None


def _likelihood_to_json(likelihood: Likelihood) -> dict[str, Any]:
    return {"loss": likelihood.loss, "tokens": likelihood.tokens}


def read_log(path: str | Path, benchmark: str) -> EvaluationLog:
    """A log that expunge wrote. Raises InputError where it is none, or one of another benchmark."""
    where = str(path)
    try:
        content = read_json(Path(path))
    except (OSError, ValueError) as error:
        raise InputError(
            Problem(where, f"it cannot be read as JSON ({error}).", "Name an evaluation log.")
        ) from None
    log = EvaluationLog.from_json(content if isinstance(content, dict) else {}, where)
    if log.benchmark != benchmark:
        raise InputError(
            Problem(where, f"it is a {log.benchmark} log, not one of {benchmark}.", "Name another log.")
        )
    return log
