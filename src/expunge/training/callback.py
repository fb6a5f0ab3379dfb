"""The end of every epoch: evaluate the model, record its metrics, and stop where the model is being lost."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

from accelerate.utils import gather_object
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..models.processes import processes
from ..progress import say
from .selection import Candidate

#: The epoch's number → a row of metrics.jsonl for the model as it is now.
Evaluate = Callable[[int], tuple[Candidate, dict[str, Any]]]
Record = Callable[[dict[str, Any], list[dict[str, Any]]], None]


class EpochCallback(TrainerCallback):
    """Evaluates after every epoch, records it, and guards against divergence.

    evaluate: measures the model, returns the candidate (its score NaN where the model's losses are) and its metrics
    record:   writes the epoch's row and the rows of all steps so far
    every:    evaluate after every so many epochs, and after the last of `epochs`
    original_utility, utility_floor: training ends where utility falls under floor · original
    leave:    why no further epoch is worth its time; None where one is
    listeners: callbacks that hear of every evaluation by the Trainer's event `on_evaluate` and may end training there
    """

    def __init__(
        self,
        evaluate: Evaluate,
        record: Record,
        original_utility: float,
        utility_floor: float,
        epochs: int,
        every: int = 1,
        listeners: Sequence[TrainerCallback] = (),
        leave: Callable[[Candidate], str | None] = lambda candidate: None,
    ):
        self.evaluate = evaluate
        self.record = record
        self.original_utility = original_utility
        self.utility_floor = utility_floor
        self.epochs = epochs
        self.every = every
        self.listeners = listeners
        self.leave = leave
        self.stopped: str | None = None
        self._recorded = time.monotonic()

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        for name in ("forget_loss", "retain_loss", "grad_norm"):
            value = (logs or {}).get(name, 0.0)
            if not math.isfinite(value):
                self.stopped = f"The {name.replace('_', ' ')} became {value} at step {state.global_step}."
                control.should_training_stop = True

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if self.stopped:  # the weights are spoilt: there is nothing to measure or to keep
            control.should_save = False
            return
        epoch = round(state.epoch or 0)
        if epoch % self.every and epoch < self.epochs:
            control.should_save = False  # only a measured epoch can be chosen
            return
        seconds = time.monotonic() - self._recorded
        candidate, metrics = self.evaluate(epoch)
        self.stopped = self._reason_to_stop(candidate)
        control.should_training_stop |= self.stopped is not None
        if math.isnan(candidate.forget_score):
            control.should_save = False
            return
        judged = {
            "forget_score": candidate.forget_score,
            "utility": None if math.isnan(candidate.utility) else candidate.utility,
            "qualifies": candidate.qualifies(self.original_utility),
        }
        values = {name: metric["value"] for name, metric in metrics.items()}
        self._tell(epoch, {**judged, **values}, args, state, control, kwargs)
        steps = [_step(entry) for entry in state.log_history if "loss" in entry]
        last = steps[-1] if steps else {}
        row = {
            "epoch": epoch,
            "step": state.global_step,
            "forget_loss": last.get("forget_loss"),
            "retain_loss": last.get("retain_loss"),
            "learning_rate": last.get("learning_rate"),
            "seconds": seconds,
            **judged,
            "reached": candidate.reached,
            "futile": candidate.futile,
            "stopped": self.stopped,
            "metrics": metrics,
        }
        self.record(row, steps)
        self._recorded = time.monotonic()
        self._say(candidate, last)

    def _tell(
        self,
        epoch: int,
        figures: dict[str, Any],
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        others: dict[str, Any],
    ) -> None:
        """Tell the listeners. others: further arguments that the Trainer gives to callbacks: model, optimizer, …

        Where one of several processes wants to end the training, all end it.
        """
        for listener in self.listeners:
            going_on = not control.should_training_stop
            listener.on_evaluate(args, state, control, metrics=figures, **others)
            if processes().num_processes > 1:
                control.should_training_stop = any(gather_object([control.should_training_stop]))
            if going_on and control.should_training_stop:
                self.stopped = (
                    f"The callback {type(listener).__name__} ended the training after epoch {epoch}."
                )

    def _reason_to_stop(self, candidate: Candidate) -> str | None:
        if math.isnan(candidate.forget_score):
            return f"The model's losses are no longer numbers after epoch {candidate.epoch}."
        if candidate.utility < self.utility_floor * self.original_utility:
            return (
                f"The utility fell to {candidate.utility / self.original_utility:.0%} of the original's at epoch "
                f"{candidate.epoch}, under the floor of {self.utility_floor:.0%}."
            )
        if candidate.reached:
            return f"The thresholds of the recipe were reached after epoch {candidate.epoch}."
        return self.leave(candidate)

    def _say(self, candidate: Candidate, step: dict[str, Any]) -> None:
        losses = "".join(
            f"{side} loss {step[f'{side}_loss']:.3f}, "
            for side in ("forget", "retain")
            if f"{side}_loss" in step
        )
        if math.isnan(candidate.utility) or math.isnan(self.original_utility):
            utility = "utility not measured, as there is no retain set"
        else:
            utility = f"utility {candidate.utility:.4f} (original {self.original_utility:.4f})"
        say(
            f"  epoch {candidate.epoch}/{self.epochs}: {losses}forget score {candidate.forget_score:.3g}, {utility}"
        )


def _step(entry: dict[str, Any]) -> dict[str, Any]:
    keys = ("step", "epoch", "forget_loss", "retain_loss", "learning_rate", "grad_norm",
            "retain_weight")  # fmt: skip
    return {key: entry[key] for key in keys if key in entry}
