"""The memorization benchmark, declared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from ...data.columns import Columns
from ...errors import InputError, Problem
from ...settings import Location
from ..declaration import Declaration, Options, RunData

if TYPE_CHECKING:
    from ...data.encoding import Encoder
    from ...data.sample_set import SampleSet
    from .benchmark import MemorizationBenchmark

#: The columns of a user's own file; `data.{name}_column` in a recipe.
COLUMNS = ("question", "answer", "messages", "text")


def _columns(given: Any) -> Any:
    """`question=NAME,answer=NAME` → `Columns`."""
    if not isinstance(given, str):
        return given
    named = {}
    for part in filter(None, given.split(",")):
        role, equals, name = (text.strip() for text in part.partition("="))
        if role not in COLUMNS or not equals or not name:
            raise ValueError(
                f"{part.strip()!r} names no column. Write {', '.join(f'{known}=NAME' for known in COLUMNS)}, as many "
                "as you need."
            )
        named[f"{role}_column"] = name
    return Columns(**named)


class MemorizationOptions(Options):
    forget: Location | None = Field(None, description="file of what must go")
    retain: Location | None = Field(None, description="file of what must stay")
    holdout: Location | None = Field(None, description="file of what the model never saw")
    columns: Annotated[Columns, BeforeValidator(_columns)] = Field(
        Columns(), description="what the files call their columns: question=NAME,answer=NAME"
    )
    max_new_tokens: int | None = Field(None, ge=1, description="longest generated answer")


class Memorization(Declaration[MemorizationOptions]):
    name = "memorization"
    options = MemorizationOptions
    measures_forgetting = True
    holds_out = True
    compares = True

    def open(self, options: MemorizationOptions, encoder: Encoder) -> MemorizationBenchmark:
        """The first `options.samples` rows of the user's own files or hub splits, whose format is recognised.

        Raises `InputError` with everything that is wrong with any of them.
        """
        from ...data.own_files import read_own_set  # they load torch
        from ...data.sets import overlaps
        from .benchmark import MAX_NEW_TOKENS, memorization_benchmark

        if options.forget is None:
            raise InputError(
                Problem("forget", "there is nothing to measure.",
                        "Name a file, a folder, or a hub data set and split.")
            )  # fmt: skip
        problems: list[Problem] = []
        sets: dict[str, SampleSet] = {}
        for side in ("forget", "retain", "holdout"):
            place = getattr(options, side)
            if place is None:
                continue
            try:
                sets[side], _ = read_own_set(place, options.columns, side)
            except InputError as error:
                problems += error.problems
        problems += overlaps(sets, "") if not problems else []
        if problems:
            raise InputError(problems)
        return memorization_benchmark(
            sets, encoder, options.max_new_tokens or MAX_NEW_TOKENS, options.samples
        )

    def of_run(self, run: RunData, encoder: Encoder) -> MemorizationBenchmark:
        """The run's forget set, its holdout, and the retain samples that it keeps out of training."""
        from .benchmark import memorization_benchmark  # it loads torch

        sets = {"forget": run.sets.forget, "retain": run.held_out, "holdout": run.sets.holdout}
        return memorization_benchmark(
            {side: part for side, part in sets.items() if part},
            encoder,
            run.evaluation.max_new_tokens,
            run.evaluation.samples,
        )


MEMORIZATION = Memorization()
