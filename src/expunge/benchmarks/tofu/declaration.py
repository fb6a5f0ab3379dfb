"""TOFU, declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationInfo, field_validator

from ...errors import InputError, Problem
from ...settings import Location
from ..declaration import LOG_FORMAT, Declaration, Options, RunData
from .settings import TofuData

if TYPE_CHECKING:
    from ...data.encoding import Encoder
    from ...evaluation.log import EvaluationLog
    from .benchmark import TofuBenchmark

OPEN_UNLEARNING = "open-unlearning"


class TofuOptions(Options):
    path: Location | None = Field(None, alias="data", description="folder or hub id of TOFU's files")
    forget: str = Field("forget10", description="forget split")
    truth_ratio: str = Field("geometric", description="geometric or arithmetic mean over wrong answers")
    max_new_tokens: int | None = Field(None, ge=1, description="longest generated answer")
    first: int | None = Field(
        None, ge=1, description="the first this many questions of each set, the forget set included"
    )

    @field_validator("truth_ratio")
    @classmethod
    def _can_be_written(cls, value: str, info: ValidationInfo) -> str:
        if value == "arithmetic" and info.data.get("format") == OPEN_UNLEARNING:
            raise ValueError("open-unlearning's format holds the geometric one. Leave it out, or write the log in "
                             "expunge's own format.")  # fmt: skip
        return value


class Tofu(Declaration[TofuOptions]):
    name = "tofu"
    options = TofuOptions
    data = TofuData
    measures_forgetting = True
    compares = True
    formats = (LOG_FORMAT, OPEN_UNLEARNING)

    def open(self, options: TofuOptions, encoder: Encoder) -> TofuBenchmark:
        """TOFU's questions from `options.path`, the forget set by its split's name."""
        from .benchmark import MAX_NEW_TOKENS, TofuBenchmark  # it loads torch

        if options.path is None:
            raise InputError(
                Problem(
                    "path", "TOFU needs its files.", "Name their folder, or a hub id such as locuslab/TOFU."
                )
            )
        return TofuBenchmark(
            options.path,
            options.forget,
            options.truth_ratio,
            max_new_tokens=options.max_new_tokens or MAX_NEW_TOKENS,
            samples=options.samples,
            first=options.first,
        )

    def of_run(self, run: RunData, encoder: Encoder) -> TofuBenchmark:
        """The questions about the run's forget split."""
        options = TofuOptions(
            path=run.section.path,
            forget=run.section.forget,
            max_new_tokens=run.evaluation.max_new_tokens,
            samples=run.evaluation.samples,
            first=run.evaluation.first,
        )
        return self.open(options, encoder)

    def content(self, log: EvaluationLog, options: TofuOptions) -> dict[str, Any]:
        from .open_unlearning import to_open_unlearning

        return to_open_unlearning(log) if options.format == OPEN_UNLEARNING else log.to_json()


TOFU = Tofu()
