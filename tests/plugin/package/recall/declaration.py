"""The benchmark `recall`, declared, and its data: a folder with `forget.tsv` and `keep.tsv`.

A line is a question, a tab and its answer.

Nothing here loads torch: expunge imports this module to know the benchmark's options and its data.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from expunge.benchmarks.declaration import Declaration, Options, RunData
from expunge.data.settings import Data
from expunge.errors import InputError, Problem
from expunge.settings import Location

if TYPE_CHECKING:
    from expunge.data.encoding import Encoder
    from expunge.data.sample_set import SampleSet

    from .benchmark import RecallBenchmark


class RecallData(Data):
    """`data: {format: recall, path: FOLDER}` in a recipe."""

    format: Literal["recall"]
    path: Location = Field(description="folder with forget.tsv and keep.tsv")
    forget: str = "forget.tsv"
    retain: str | None = "keep.tsv"

    def sources(self) -> dict[str, str | None]:
        return {
            side: str(Path(self.path) / name) if name else None
            for side, name in (("forget", self.forget), ("retain", self.retain))
        }

    def read(self, side: str, source: str) -> tuple[SampleSet, str]:
        from expunge.data.sample_set import SampleSet

        from .benchmark import read_lines

        return SampleSet(source, read_lines(source, f"data.{side}")), self.format


class RecallOptions(Options):
    """`expunge eval MODEL --benchmark recall --data FOLDER --shortest-answer 3`."""

    path: Location | None = Field(None, alias="data", description="folder with forget.tsv and keep.tsv")
    shortest_answer: int = Field(1, ge=1, description="leave out answers of fewer tokens")


class Recall(Declaration[RecallOptions]):
    name = "recall"
    options = RecallOptions
    data = RecallData
    measures_forgetting = True
    holds_out = True

    def open(self, options: RecallOptions, encoder: Encoder) -> RecallBenchmark:
        from .benchmark import RecallBenchmark, read_lines

        if options.path is None:
            raise InputError(Problem("path", "there is nothing to recall.", "Name a folder."))
        sets = {
            name: read_lines(str(Path(options.path) / f"{file}.tsv"), "path")[: options.samples]
            for name, file in (("forget", "forget"), ("retain", "keep"))
        }
        return RecallBenchmark(sets, options.path, encoder, options.shortest_answer)

    def of_run(self, run: RunData, encoder: Encoder) -> RecallBenchmark:
        from .benchmark import RecallBenchmark

        held_out = run.held_out.samples if run.held_out else []
        return RecallBenchmark(
            {"forget": run.sets.forget.samples, "retain": held_out}, run.section.path, encoder
        )


RECALL = Recall()
