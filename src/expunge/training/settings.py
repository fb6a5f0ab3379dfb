"""The recipe's sections `training` and `stopping`."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ..models.settings import Precision
from ..settings import AutoOr, Location, Section

#: The values of `auto`: the largest batch and the largest share of an epoch's samples in it, the largest micro-batch
#: (of a 135 M model in fp32, 4 samples and what is paired with them take 2.6 GB), the fewest optimiser steps and
#: epochs, the warm-up, and the rate where none is searched.
LARGEST_BATCH, BATCH_SHARE = 32, 4
LARGEST_MICRO_BATCH = 4
FEWEST_STEPS, FEWEST_EPOCHS = 40, 5
WARMUP = "10%"
LEARNING_RATE = 1e-4

Positive = Annotated[int, Field(ge=1)]


class Training(Section):
    epochs: AutoOr[Positive] = Field(
        "auto", description="auto: as many as give 40 optimiser steps, and at least 5"
    )
    batch_size: AutoOr[Positive] = Field(
        "auto",
        description="forget samples an optimiser step, over all processes; auto: the power of two that is at most a "
        "quarter of the samples that an epoch walks through, and 32",
    )
    micro_batch_size: AutoOr[Positive] = Field(
        "auto",
        description="forget samples a forward pass on each process, at most those of a step: memory grows with it, the "
        "result does not depend on it; auto: the largest number up to 4 that divides them",
    )
    learning_rate: AutoOr[Annotated[float, Field(gt=0)]] = Field(
        "auto",
        description="auto: found by trials (see the section tuning); with all_weights, task_arithmetic, "
        "retrain and uld, and by `expunge finetune`, 1e-4",
    )
    learning_rate_scale: Literal["none", "initialization"] = Field(
        "none",
        description="initialization: each layer's rate is scaled so that its first update is as large as with LoRA's "
        "own initialisation; one rate then suits every initialisation",
    )
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    warmup: str | int = Field(
        "auto",
        description="'1 epoch' or a number of steps, the first of which has the rate 0; or '10%' of the steps, none of "
        "which has; auto: 10%",
    )
    max_grad_norm: float = Field(1.0, ge=0, description="0: gradients are not clipped")
    precision: Precision = Field(
        "auto",
        description="auto: bf16 for a bf16 model on a GPU, and on a CPU for a model of 50 M parameters or more where "
        "the machine multiplies at least 1.5 times faster in it: there evaluations and attacks pass in it too; "
        "adapters stay in fp32",
    )
    activation_checkpointing: bool = Field(
        False,
        description="keep only the blocks' inputs for the backward pass: less memory, a forward pass more",
    )
    report_to: list[str] = Field(
        default_factory=list,
        description="trackers of the Trainer, e.g. [tensorboard]; what they are told: docs/trackers.md",
    )

    @field_validator("warmup")
    @classmethod
    def _warmup_form(cls, value: str | int) -> str | int:
        if isinstance(value, int) and value < 0:
            raise ValueError("a number of steps cannot be negative")
        if isinstance(value, str) and not re.fullmatch(r"auto|\d+(\.\d+)? epochs?|\d+(\.\d+)?%|\d+", value):
            raise ValueError("write '1 epoch', '10%' or a number of steps")
        return value

    @model_validator(mode="after")
    def _batches_fit(self) -> Training:
        if self.batch_size == "auto" or self.micro_batch_size == "auto":
            return self
        if self.batch_size % self.micro_batch_size and self.micro_batch_size < self.batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of micro_batch_size {self.micro_batch_size}"
            )
        return self

    def plan(self, samples: int, processes: int = 1) -> TrainingPlan:
        """These settings for an epoch of so many samples: every `auto` is a number.

        A batch that is left open can be shared by so many processes.
        """
        batch, micro, epochs = self.batch_size, self.micro_batch_size, self.epochs
        if batch == "auto":
            batch = _power_of_two(min(LARGEST_BATCH, samples // BATCH_SHARE))
            batch = -(-batch // processes) * processes
        if micro == "auto" or batch % micro:
            micro = largest_divisor(batch, LARGEST_MICRO_BATCH if micro == "auto" else micro)
        if epochs == "auto":
            epochs = max(FEWEST_EPOCHS, math.ceil(FEWEST_STEPS / math.ceil(samples / batch)))
        numbers = {
            "epochs": epochs,
            "batch_size": batch,
            "micro_batch_size": micro,
            "learning_rate": LEARNING_RATE if self.learning_rate == "auto" else self.learning_rate,
            "warmup": WARMUP if self.warmup == "auto" else self.warmup,
        }
        return TrainingPlan(**{**self.model_dump(), **numbers})


class TrainingPlan(Training):
    """Training settings without an `auto`."""

    epochs: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    micro_batch_size: int = Field(ge=1)
    learning_rate: float = Field(gt=0)
    warmup: str | int

    def differs(self, recipe: Training) -> bool:
        """Whether the recipe left something open, which this plan settles."""
        return self.model_dump() != recipe.model_dump()

    def steps_an_epoch(self, samples: int) -> int:
        """Optimiser steps in one pass over the set that an epoch walks through."""
        return math.ceil(samples / self.batch_size)

    def warmup_steps(self, steps_an_epoch: int) -> int:
        """The warm-up in optimiser steps."""
        text = str(self.warmup)
        if "epoch" in text:
            return round(float(text.split()[0]) * steps_an_epoch)
        if text.endswith("%"):
            return round(float(text[:-1]) / 100 * steps_an_epoch * self.epochs)
        return int(text)

    @property
    def first_step_at_zero(self) -> bool:
        """Whether a warm-up begins with a step at the rate 0, as transformers' schedules and the papers' runs do."""
        return not str(self.warmup).endswith("%")


def largest_divisor(number: int, limit: int) -> int:
    """The largest number up to `limit` that divides `number`."""
    return next(divisor for divisor in range(min(limit, number), 0, -1) if number % divisor == 0)


def _power_of_two(limit: int) -> int:
    """The largest that is at most `limit`, and 1 under it."""
    return 1 << (max(1, limit).bit_length() - 1)


class Stopping(Section):
    """The rules that end training before its last epoch, and that choose the one that is handed over."""

    rule: Literal["thresholds", "tdec"] | None = Field(
        None,
        description="null without thresholds: all epochs are trained; else training ends once all are reached",
    )
    thresholds: dict[str, Annotated[float, Field(allow_inf_nan=False)]] | Location | None = Field(
        None,
        description="metric → the value at which it is reached: at or below; at or above where it rises as the forget "
        "set is forgotten (forget_quality, perplexity …); or a file that `eval --calibrate` wrote",
    )
    choose: Literal["useful", "best", "last"] = Field(
        "useful",
        description="best: the highest forget score among the epochs that keep 95 % of the original's utility (VILA); "
        "useful: the highest utility among those that are as good as that, within what the benchmark can tell apart; "
        "last: the last epoch, whatever it costs (LoKU)",
    )
    utility_floor: float = Field(0.5, ge=0, le=1, description="a utility under this share of the original's, or a "
                                 "loss that is no number, always ends the training")  # fmt: skip
    nothing_to_forget: Literal["stop", "train"] = Field(
        "stop", description="stop: the run ends before anything is trained where the model clearly never knew the "
        "forget set"
    )  # fmt: skip

    @model_validator(mode="before")
    @classmethod
    def _thresholds_imply_their_rule(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("thresholds") and value.get("rule") is None:
            return {**value, "rule": "thresholds"}
        return value

    @model_validator(mode="after")
    def _rule_has_thresholds(self) -> Stopping:
        if self.rule and not self.thresholds:
            raise ValueError(
                f"the rule {self.rule!r} needs thresholds. Add stopping.thresholds: a metric with its value each, "
                "or the file that `expunge eval --calibrate` wrote"
            )
        return self
