"""TDEC, declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...errors import InputError, Problem
from ...settings import Location
from ..declaration import Declaration, Options, RunData
from .settings import TdecData

if TYPE_CHECKING:
    from ...data.encoding import Encoder
    from .benchmark import TdecBenchmark


class TdecOptions(Options):
    path: Location | None = Field(None, alias="data", description="folder of npy files, or a file with texts")
    forget: str = Field("0", description="number of the forget set, from 0 on")
    sequences: int = Field(32, ge=1, description="sequences in a forget set")
    retain: Location | None = Field(None, description="file with text to keep")


class Tdec(Declaration[TdecOptions]):
    name = "tdec"
    options = TdecOptions
    data = TdecData
    measures_forgetting = True
    holds_out = True
    has_thresholds = True

    def open(self, options: TdecOptions, encoder: Encoder) -> TdecBenchmark:
        """Forget set number `options.forget` of the sequences in `options.path`, and retain texts."""
        from .benchmark import TdecBenchmark  # they load torch
        from .files import forget_set, retain_texts

        if options.path is None:
            raise InputError(
                Problem(
                    "path", "TDEC needs its sequences.", "Name a folder of npy files, or a file with texts."
                )
            )
        number = options.forget
        if not number.isdecimal():
            raise InputError(
                Problem(
                    "forget", f"{number!r} is no number.", "Give the number of the forget set, from 0 on."
                )
            )
        forget = forget_set(options.path, int(number), options.sequences, "path")
        retain = retain_texts(options.retain, "retain") if options.retain else []
        data = {"path": options.path, "names": {"forget": f"forget set {number}", "retain": options.retain}}
        return TdecBenchmark(forget[: options.samples], retain[: options.samples], encoder, data)

    def of_run(self, run: RunData, encoder: Encoder) -> TdecBenchmark:
        """The run's forget sequences, and the texts that it keeps out of training."""
        from .benchmark import TdecBenchmark  # it loads torch

        limit = run.evaluation.samples
        kept = run.held_out.samples if run.held_out else []
        forget = run.sets.forget
        return TdecBenchmark(forget.samples[:limit], kept[:limit], encoder, {"path": forget.source})

    def open_held_out(self, text: str, options: TdecOptions, encoder: Encoder) -> TdecBenchmark:
        from .benchmark import TdecBenchmark  # they load torch
        from .files import held_out_sequences

        sequences = held_out_sequences(text, encoder, "calibrate")
        return TdecBenchmark(sequences[: options.samples], [], encoder, {"path": text})


TDEC = Tdec()
