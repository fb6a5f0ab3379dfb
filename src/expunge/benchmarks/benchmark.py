"""A benchmark measures a model into a log, and computes its metrics from logs alone."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from ..evaluation.log import EvaluationLog, QuestionRecord, read_log
from ..evaluation.metric import Metric
from ..evaluation.set_metrics import with_added
from .measures import declared, preferred

if TYPE_CHECKING:  # it loads torch, and logs are compared without
    from ..data.encoding import Encoder, Example
    from ..objectives.loss import Aim

#: A fiftieth of a probability or a recall: with the few samples of a request less says nothing.
RESOLUTION = 0.02


@dataclass(frozen=True)
class Workload:
    """The examples and answers that one evaluation passes through the model; `validate` tells the cost from them.

    scored:    the examples of the teacher-forced pass
    generated: (tokens of the prompt, tokens of the true answer) of every answer that is written
    longest:   the most tokens that are written
    utility_generated: whether the utility rests on the written answers where there are any
    """

    scored: Sequence[Example]
    generated: Sequence[tuple[int, int]]
    longest: int
    utility_generated: bool = False


@dataclass(frozen=True)
class Wordings:
    """A question's other forms: in other words, and its wrong answers; empty where the benchmark has none.

    group: the same of all questions about one person; None where the benchmark does not say
    """

    rewordings: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()
    group: int | None = None


class Benchmark(ABC):
    """One benchmark with its data loaded and checked.

    metric_version: every log carries it; it changes when the same log would give other figures
    data:           path, hash and names of the data; every log carries them as well
    compared:       sets whose records figures compare with those of a reference

    `expunge.benchmarks.measures` declares what its metrics are called and mean.
    """

    name: ClassVar[str]
    metric_version: str
    compared: ClassVar[tuple[str, ...]] = ()
    data: dict[str, Any]

    @abstractmethod
    def measure(self, model: Any, encoder: Encoder) -> EvaluationLog:
        """Measure everything that one teacher-forced pass tells. `model` keeps its modes and settings."""

    @abstractmethod
    def generate(self, model: Any, encoder: Encoder, log: EvaluationLog) -> EvaluationLog:
        """Return `log`, which `measure` made of the same model, with greedy answers: the slow part."""

    @property
    def has_texts(self) -> bool:
        """Whether there are texts to forget, which `continue_texts` would go on with."""
        return False

    def continue_texts(self, model: Any, encoder: Encoder, log: EvaluationLog) -> EvaluationLog:
        """Return `log` with what the model writes after the beginnings of some texts that are to be forgotten.

        Their owner may want to read it, as the answers to questions; no figure rests on it, so that a run asks for it
        of the models that it compares, and not after every epoch.
        """
        return log

    def forget_part(self) -> Benchmark:
        """This benchmark without the sets that say nothing of the forget set, where they can be left out."""
        return self

    def evaluate(self, model: Any, encoder: Encoder) -> EvaluationLog:
        """Measure and generate."""
        return self.generate(model, encoder, self.measure(model, encoder))

    def workload(self, encoder: Encoder) -> Workload | None:
        """The work that `evaluate` will have; None where the benchmark does not say."""
        return None

    def wordings(self) -> Mapping[str, Wordings]:
        """Forget question → its other forms; empty where the benchmark has none."""
        return {}

    def settings(self, encoder: Encoder) -> dict[str, Any]:
        """The settings by which the model is asked, where the benchmark leaves that open; every log carries them."""
        return {}

    def log_of(self, sets: dict[str, list[QuestionRecord]], encoder: Encoder) -> EvaluationLog:
        """The log of a teacher-forced pass, whose records are `sets`, without generations."""
        return EvaluationLog(
            self.name, self.metric_version, False, sets, data=self.data, settings=self.settings(encoder)
        )

    def truths(self) -> dict[str, list[str | None]]:
        """Set → the true answers of the records that its log will have, None where one is no text; empty where only
        the measured log shows them."""
        return {}

    def read_log(self, path: str | Path) -> EvaluationLog:
        """A log of this benchmark from a file. Raises InputError for any other file."""
        return read_log(path, self.name)

    @abstractmethod
    def metrics(self, log: EvaluationLog, reference: EvaluationLog | None) -> dict[str, Metric]:
        """Metrics of `log`; `reference` is the log of a model that never saw the forget set."""

    def all_metrics(
        self, log: EvaluationLog, reference: EvaluationLog | None, before: EvaluationLog | None = None
    ) -> dict[str, Metric]:
        """The benchmark's own metrics, and for every set those that users' packages have added.

        before: the log of the model before it was trained: `log` itself where it is that one, None where there is none
        """
        return with_added(self.metrics(log, reference), log.sets)

    def beyond(
        self, log: EvaluationLog, reference: EvaluationLog | None, before: EvaluationLog | None
    ) -> bool | None:
        """Whether the forget set is less likely to the model of `log` than what was never seen, rather than more.

        None where nothing says so: then nobody knows on which side of its aim a model is.
        """
        return None

    def past_its_aim(
        self, log: EvaluationLog, reference: EvaluationLog | None, before: EvaluationLog | None
    ) -> bool:
        """Whether the model is so clearly `beyond` that more training only takes it further."""
        return False

    def near_enough(
        self, log: EvaluationLog, reference: EvaluationLog | None, before: EvaluationLog | None
    ) -> bool:
        """Whether the questions of `log` are too few to tell the model from what it aims at, and it is not past that.

        Nothing that they could show is left to gain then, whatever the score.
        """
        return False

    @abstractmethod
    def forget_score(self, metrics: Mapping[str, Metric]) -> float:
        """A score of how well the model has forgotten the forget set; higher is better."""

    def best_score(self, metrics: Mapping[str, Metric], aims: Aim) -> float:
        """The highest value of `score` of metrics such as these: nothing is left to gain there."""
        return 1.0

    def resolution(self, metrics: Mapping[str, Metric], aims: Aim) -> float:
        """Values of `score` of metrics such as these that are no further apart are equally good."""
        return RESOLUTION

    def score(self, metrics: Mapping[str, Metric], aims: Aim) -> float:
        """A score of how well the model forgot by a loss that aims at answers or at probabilities; higher is better.

        For answers it is 1 − `forget_rouge` where there are any; else, and for probabilities, the `forget_score`.
        """
        if aims == "answers" and "forget_rouge" in metrics:
            return 1.0 - metrics["forget_rouge"].value
        return self.forget_score(metrics)

    def forgets_more(self, metrics: Mapping[str, Metric], before: Mapping[str, Metric]) -> bool:
        """Whether less of the forget set is left than `before`, in the answers or in the probabilities.

        Metrics that only one of the two has are not compared. A score may rest on greedy answers and first choices,
        which a change of every probability can leave alone, so the perplexity of the forget set counts too.
        """
        both = [{name: side[name] for name in metrics if name in before} for side in (metrics, before)]
        aims: tuple[Aim, ...] = ("answers", "probabilities")
        if any(self.score(both[0], aim) > self.score(both[1], aim) for aim in aims):
            return True
        perplexities = [
            name for name in both[0] if name.startswith("forget") and name.endswith("_perplexity")
        ]
        return any(both[0][name].value > both[1][name].value for name in perplexities)

    def utility_metric(self, metrics: Mapping[str, Metric], *, generated: bool) -> str | None:
        """The name of the metric that says what is left of the model's use: the best that is declared for it.

        generated: whether it may rest on generations; compare only utilities of one kind
        None where nothing says what is left, as without retain material.
        """
        return next(
            (
                name
                for name in preferred("utility", metrics)
                if (measure := declared(name)) and (generated or not measure.generated)
            ),
            None,
        )

    def utility(self, metrics: Mapping[str, Metric], *, generated: bool) -> float:
        """The value of `utility_metric`, higher is better; NaN without one."""
        name = self.utility_metric(metrics, generated=generated)
        return math.nan if name is None else metrics[name].value
