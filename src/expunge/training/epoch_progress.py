"""The progress within an epoch: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..progress import track


class EpochProgress(TrainerCallback):
    """Counts micro-batches: an optimiser step over many of them can take minutes.

    It comes before callbacks that evaluate at an epoch's end, which show their own progress.
    """

    def __init__(self) -> None:
        self._batches: Generator[int, None, None] | None = None

    def on_epoch_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        train_dataloader: Any = None,
        **kwargs: Any,
    ) -> None:
        number = round(state.epoch or 0) + 1
        self._batches = track(range(len(train_dataloader)), f"  epoch {number}/{state.num_train_epochs}")
        self._next()

    def on_substep_end(self, *arguments: Any, **kwargs: Any) -> None:
        self._next()

    def on_step_end(self, *arguments: Any, **kwargs: Any) -> None:
        self._next()

    def on_epoch_end(self, *arguments: Any, **kwargs: Any) -> None:
        self.close()

    def close(self) -> None:
        """Take the bar away, wherever the epoch is."""
        if self._batches is not None:
            self._batches.close()

    def _next(self) -> None:
        if self._batches is not None:
            next(self._batches, None)
