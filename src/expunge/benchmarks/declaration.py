"""A benchmark's declaration: how a command and a run open it, known before any of its data are read.

The recipe imports declarations to check itself, so their modules import nothing that loads torch, save inside the
functions that open the benchmark.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from pydantic import ConfigDict, Field

from ..data.settings import Data
from ..settings import Section

if TYPE_CHECKING:
    from ..data.encoding import Encoder
    from ..data.sample_set import SampleSet
    from ..data.sets import UnlearningData
    from ..evaluation.log import EvaluationLog
    from .benchmark import Benchmark
    from .settings import Evaluation

#: The format of a log as every benchmark writes it.
LOG_FORMAT = "expunge"


class Options(Section):
    """The options of `expunge eval` that are the benchmark's own: the field `new_tokens` is `--new-tokens`.

    A field that has an alias is an option of that name.
    """

    model_config = ConfigDict(populate_by_name=True)

    samples: int | None = Field(None, ge=1, description="at most this many of each set")
    format: str = Field(LOG_FORMAT, description="format of the log")

    @classmethod
    def names(cls) -> dict[str, str]:
        """Field → what the command line calls it, without its dashes."""
        return {name: field.alias or name for name, field in cls.model_fields.items()}


O = TypeVar("O", bound=Options)  # noqa: E741


@dataclass(frozen=True)
class RunData:
    """The parts of a run that its benchmark can measure.

    section:    the recipe's section `data`
    evaluation: the recipe's section `evaluation`
    sets:       the forget set, the retain set, and the holdout
    held_out:   the retain samples that are not trained on, where the benchmark asks for some and there are any
    """

    section: Any
    evaluation: Evaluation
    sets: UnlearningData
    held_out: SampleSet | None


class Declaration(ABC, Generic[O]):
    """One benchmark, declared.

    options:             the options that it takes in `expunge eval`
    data:                the recipe's section `data` whose `format` is the benchmark's name; it then measures such a run
                         unless the recipe names another. None where the user's own files are measured, or others
    measures_forgetting: whether a run may choose its epoch by it; the others say what a model can do
    holds_out:           whether a run keeps a part of the retain set out of training, to measure utility on
    compares:            whether figures compare with those of a model that never saw the forget set
    has_thresholds:      whether there is a benchmark over text that the model never saw, whose figures are thresholds
    formats:             in which its log may be written

    A `Problem` with an option is at the name of its field (or `benchmark`): who asked adds the option or the key.
    """

    name: ClassVar[str]
    options: type[O]
    data: ClassVar[type[Data] | None] = None
    measures_forgetting: ClassVar[bool] = False
    holds_out: ClassVar[bool] = False
    compares: ClassVar[bool] = False
    has_thresholds: ClassVar[bool] = False
    formats: ClassVar[tuple[str, ...]] = (LOG_FORMAT,)

    @abstractmethod
    def open(self, options: O, encoder: Encoder) -> Benchmark:
        """The benchmark with its data loaded and checked. Raises `InputError` for what is wrong with either."""

    def of_run(self, run: RunData, encoder: Encoder) -> Benchmark:
        """The benchmark that measures a run. Asked only where it measures forgetting."""
        raise NotImplementedError

    def open_held_out(self, text: str, options: O, encoder: Encoder) -> Benchmark:
        """The benchmark over `text`, a file of what the model never saw: its `calibrated` metrics are the thresholds.

        Asked only where it has thresholds. Raises `InputError` for what is wrong with the text.
        """
        raise NotImplementedError

    def content(self, log: EvaluationLog, options: O) -> dict[str, Any]:
        """`log` in `options.format`, one of `formats`."""
        return log.to_json()
