"""Times one real pass of every kind: what this device needs for it beyond what its work counts for.

A count knows products, traffic and kernels; not how well small matrices fill this processor, nor what Python costs.
So `TrialPasses` makes a pass of every kind through a model of the same configuration with made-up weights, as many rows
and blocks as a tenth of a second allows, and compares its seconds with those that the count predicts. It takes their
ratio to hold for the run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch

from .device_speed import DeviceSpeed, seconds_of
from .operations import Work
from .passes import Passes
from .shallow_models import Shape, decoded, measured, prefilled, scored, trained

#: The largest trial: its model as a share of the free memory (there may be two, with adapters and without, and what a
#: pass takes), and predicted seconds of its pass. With fewer tokens than these its products would be slower than the
#: run's.
LARGEST_SHARE, LARGEST_PASS, FEWEST_TOKENS = 1 / 8, 0.1, 256

#: (rows of the batch, blocks of the model) → the work of a pass; (model, rows) → the pass that is timed.
Count = Callable[[int, int], Work]
Kind = Literal["plain", "adapted", "writing"]
Trial = Callable[[Any, int], Callable[[], object]]


class TrialPasses:
    """The work of passes as counted, and with it the seconds that one trial of every kind took beyond the count.

    depth: blocks of the part of the model that is measured and trained; adapters: are trained, not all weights
    room: bytes of the largest model that is tried; 0 for the counts alone
    untried: kinds of passes of which even one block was too large to try, with the embeddings
    """

    def __init__(
        self,
        passes: Passes,
        speed: DeviceSpeed,
        device: torch.device,
        depth: int,
        adapters: bool,
        room: float,
    ):
        self.passes, self.speed, self.device = passes, speed, device
        self.depth, self.adapters, self.room = depth, adapters, room
        self.untried: list[str] = []
        self._ratios: dict[str, float] = {}
        self._made: dict[tuple[int, Kind], Any] = {}

    def scored(self, shape: Shape, mixed: bool | None = None) -> Work:
        """See `Passes.scored`."""
        mixed = self.passes.models.fast if mixed is None else mixed
        return self._beyond(
            "scored in bf16" if mixed else "scored",
            self.passes.scored(shape, mixed=mixed),
            shape.rows,
            shape.length,
            lambda rows, blocks: self.passes.scored(replace(shape, rows=rows), blocks, mixed),
            lambda model, rows: partial(scored, model, replace(shape, rows=rows), mixed),
        )

    def measured(self, shape: Shape, estimator: str, samples: int | None = None) -> Work:
        """See `Passes.measured`."""
        rank, targets = self.passes.models.rank, self.passes.models.targets
        return self._beyond(
            "measured",
            self.passes.measured(shape, estimator, self.depth, samples),
            shape.rows,
            shape.length,
            lambda rows, blocks: self.passes.measured(replace(shape, rows=rows), estimator, blocks, samples),
            lambda model, rows: partial(
                measured, model, replace(shape, rows=rows), estimator, rank, targets, samples
            ),
        )

    def trained(self, shape: Shape, recomputed: bool = False) -> Work:
        """See `Passes.trained`; what recomputing takes beyond its count is taken to be in proportion."""
        mixed = self.passes.models.mixed
        return self._beyond(
            "trained",
            self.passes.trained(shape, self.depth, self.adapters, recomputed),
            shape.rows,
            shape.length,
            lambda rows, blocks: self.passes.trained(replace(shape, rows=rows), blocks, self.adapters),
            lambda model, rows: partial(trained, model, replace(shape, rows=rows), mixed),
            "adapted" if self.adapters else "plain",
        )

    def prefilled(self, rows: int, context: int) -> Work:
        """See `Passes.prefilled`."""
        return self._beyond(
            "prefilled",
            self.passes.prefilled(rows, context),
            rows,
            context,
            lambda rows, blocks: self.passes.prefilled(rows, context, blocks),
            lambda model, rows: partial(prefilled, model, rows, context, self.passes.models.fast),
            self._writing,
        )

    def decoded(self, rows: int, context: int) -> Work:
        """See `Passes.decoded`."""

        def trial(model: Any, rows: int) -> Callable[[], object]:
            kept = prefilled(model, 1, context, self.passes.models.fast)
            kept.batch_repeat_interleave(rows)

            def step() -> None:
                decoded(model, rows, kept, self.passes.models.fast)
                kept.crop(-1)

            return step

        return self._beyond(
            "decoded",
            self.passes.decoded(rows, context),
            rows,
            1,
            lambda rows, blocks: self.passes.decoded(rows, context, blocks),
            trial,
            self._writing,
        )

    @property
    def _writing(self) -> Kind:
        return "writing" if self.passes.models.fast else "plain"

    def _beyond(
        self, kind: str, work: Work, rows: int, length: int, count: Count, trial: Trial, model: Kind = "plain"
    ) -> Work:
        """`work`, with what it takes beyond its count. rows, length: of the batch, as many tokens as it passes"""
        if kind not in self._ratios:
            self._ratios[kind] = self._ratio(kind, rows, length, count, trial, model)
        return replace(work, beyond=(self._ratios[kind] - 1) * self.speed.seconds(work))

    def _ratio(self, kind: str, rows: int, length: int, count: Count, trial: Trial, model: Kind) -> float:
        """Seconds of a trial over those predicted for it; 1 where even one block is too large to try."""
        blocks = self.depth
        while blocks and self._bytes(blocks) > self.room:
            blocks //= 2
        if not blocks:
            self.untried.append(kind)
            return 1.0
        # Fewer rows before fewer blocks: the embeddings' share of a pass stays as it is in the run.
        fewest = min(rows, -(-FEWEST_TOKENS // length))
        rows = max(fewest, int(rows * self._room_for(count(rows, blocks))))
        blocks = max(1, int(blocks * self._room_for(count(rows, blocks))))
        run = trial(self._model(blocks, model), rows)
        return seconds_of(run, self.device) / self.speed.seconds(count(rows, blocks))

    def _room_for(self, work: Work) -> float:
        """The share of this work that a trial has time for."""
        return min(1.0, LARGEST_PASS / self.speed.seconds(work))

    def _bytes(self, blocks: int) -> int:
        return self.passes.weight_bytes(blocks)

    def _model(self, blocks: int, kind: Kind) -> Any:
        """Kept for the next kind; several requests are predicted one after the other, so no longer than this object."""
        if (blocks, kind) not in self._made:
            self._made[blocks, kind] = getattr(self.passes.models, kind)(blocks, self.device)
        return self._made[blocks, kind]
