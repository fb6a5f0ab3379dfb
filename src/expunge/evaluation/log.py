"""The evaluation log: what was measured, by question; enough to compute every metric without the model."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, StrictFloat, StrictInt, StrictStr

from ..errors import InputError, Problem
from ..storage import read_json
from .checked import checked
from .metric import Metric

SCHEMA = "expunge.evaluation/1"
#: The score that stands in for `correct` in a log that does not count tokens.
MEMORIZED = "exact_memorization"
#: Nats that rounding may take from the summed loss of a text that the model is certain of.
ROUNDING = 1.0
AGAIN = "Evaluate the model again."


def _loss(value: float) -> float:
    if value < -ROUNDING:
        raise ValueError("should not be under 0, as it is a negative log-likelihood")
    return value


#: A negative log-likelihood in nats; no number, or infinite, where the model has diverged.
Loss = Annotated[StrictFloat, AfterValidator(_loss)]
Count = Annotated[StrictInt, Field(ge=0)]


@dataclass(frozen=True)
class Likelihood:
    """The likelihood of an answer under the model.

    loss:   summed negative log-likelihood over its label tokens, in nats
    tokens: number of label tokens, EOS included
    """

    loss: Loss
    tokens: Count

    @property
    def average_loss(self) -> float:
        """Nats per label token; NaN for an answer without any."""
        return self.loss / self.tokens if self.tokens else math.nan

    @property
    def probability(self) -> float:
        """exp(−average loss): the geometric mean of the token probabilities."""
        return math.exp(-self.average_loss)


@dataclass(frozen=True)
class Continued:
    """A text whose beginning a model was given: the beginning, how the text goes on, and how the model goes on."""

    begun: StrictStr
    truth: StrictStr
    written: StrictStr


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
    continued:   of a text what the model writes after its beginning, for its owner to read: no figure rests on it; None
                 where nothing was written
    """

    index: Count
    answer: Likelihood
    paraphrased: Likelihood | None = None
    perturbed: tuple[Likelihood, ...] = ()
    generation: StrictStr | None = None
    truth: StrictStr | None = None
    correct: Count | None = None
    strength: Annotated[StrictFloat, Field(ge=0, le=1)] | None = None
    scores: Mapping[str, StrictFloat] = field(default_factory=dict)
    continued: Continued | None = None

    @property
    def memorized(self) -> float | None:
        """Share of the answer's tokens that are the model's first choice; None if unknown, or if there are no tokens.

        Where the log holds no counts of tokens, as other tools' do, the share is a score.
        """
        if self.correct is None:
            return self.scores.get(MEMORIZED)
        return self.correct / self.answer.tokens if self.answer.tokens else None

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
            "continued": None if self.continued is None else asdict(self.continued),
        }

    @classmethod
    def from_json(cls, value: Any, where: str = "record") -> QuestionRecord:
        """Raises InputError naming `where` and the key for what is no record."""
        return checked(cls, value, where, AGAIN)


@dataclass
class EvaluationLog:
    """Everything that one evaluation measured of one model.

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
        """The name of this log in messages."""
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
        """Raises InputError naming `source`, set, row and key for another schema and for what is missing or damaged."""
        where = source or "evaluation log"
        if value.get("schema") != SCHEMA:
            reason = f"its schema is {value.get('schema')!r}, not {SCHEMA!r}."
            raise InputError(Problem(where, reason, "Give a log that this version of expunge wrote."))
        rows_of = checked(dict[str, list[Any]], value.get("sets"), f"{where}: sets", AGAIN)
        sets = {
            name: [
                QuestionRecord.from_json(row, f"{where}: sets.{name}, row {number}")
                for number, row in enumerate(rows, start=1)
            ]
            for name, rows in rows_of.items()
        }
        # A log without these keys is incomplete, though one that is being made may begin without.
        written = {"metrics": None, "model": None, "data": None, **value}
        return checked(cls, {**written, "sets": sets, "source": source}, where, AGAIN)


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
