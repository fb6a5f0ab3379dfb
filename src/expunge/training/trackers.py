"""The trackers that a training can report to: those of the Trainer, with packages of their own.

The Trainer itself reports every optimiser step. `EpochTracker` adds what is measured after an epoch, under names that
stay: docs/trackers.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK

from ..errors import InputError, Problem, nearest

if TYPE_CHECKING:  # it loads the Trainer's own libraries, and `validate` needs none of them
    from transformers import Trainer

KEY = "training.report_to"


def check_trackers(names: Sequence[str]) -> None:
    """Raise `InputError` for trackers that the Trainer does not know, or whose package is not installed."""
    problems = []
    for name in names if list(names) not in (["all"], ["none"]) else ():
        if name not in INTEGRATION_TO_CALLBACK:
            problems.append(
                Problem(KEY, f"there is no tracker {name!r}.", nearest(name, INTEGRATION_TO_CALLBACK))
            )
            continue
        try:
            INTEGRATION_TO_CALLBACK[name]()  # as the Trainer makes it; it reports nothing yet
        except (RuntimeError, ImportError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            problems.append(
                Problem(KEY, f"{name!r} cannot be used: {reason}.", "Install what it needs, or leave it out.")
            )
    if problems:
        raise InputError(problems)


class EpochTracker(TrainerCallback):
    """Tells the trackers of a trainer what was measured after an epoch, as `eval_NAME`: most show it as `eval/NAME`."""

    def __init__(self, trainer: Trainer):
        kinds = tuple(kind for kind in INTEGRATION_TO_CALLBACK.values() if isinstance(kind, type))
        self.trackers: list[Any] = [
            each for each in trainer.callback_handler.callbacks if isinstance(each, kinds)
        ]

    def on_evaluate(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        metrics: Mapping[str, Any] | None = None,
        **others: Any,
    ) -> None:
        """Report every figure that is a number; `qualifies` as 0 or 1."""
        figures = {
            f"eval_{name}": float(value)
            for name, value in (metrics or {}).items()
            if value is not None and math.isfinite(value)
        }
        for tracker in self.trackers:
            tracker.on_log(args, state, control, logs=dict(figures), **others)
