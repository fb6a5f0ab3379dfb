"""MUSE, declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...errors import InputError, Problem
from ...settings import Location
from ..declaration import Declaration, Options, RunData
from .settings import MuseData

if TYPE_CHECKING:
    from ...data.encoding import Encoder
    from .benchmark import MuseBenchmark


class MuseOptions(Options):
    path: Location | None = Field(None, alias="data", description="folder or hub id of MUSE's files")
    max_new_tokens: int | None = Field(None, ge=1, description="MUSE says itself how much is generated")


class Muse(Declaration[MuseOptions]):
    name = "muse"
    options = MuseOptions
    data = MuseData
    measures_forgetting = True
    compares = True

    def open(self, options: MuseOptions, encoder: Encoder) -> MuseBenchmark:
        """MUSE's evaluation sets from `options.path`. They are the same whichever split is forgotten."""
        from .benchmark import MuseBenchmark  # it loads torch

        problems = []
        if options.path is None:
            problems.append(
                Problem("path", "MUSE needs its files.",
                        "Name their folder, or a hub id such as muse-bench/MUSE-News.")
            )  # fmt: skip
        if options.max_new_tokens is not None:
            problems.append(
                Problem("max_new_tokens", "MUSE says how much is generated: 128 tokens, and 32 of an answer.",
                        "Leave it out.")
            )  # fmt: skip
        if options.path is None or problems:
            raise InputError(problems)
        return MuseBenchmark(options.path, options.samples)

    def of_run(self, run: RunData, encoder: Encoder) -> MuseBenchmark:
        """The evaluation sets beside the run's data."""
        return self.open(MuseOptions(path=run.section.path, samples=run.evaluation.samples), encoder)


MUSE = Muse()
