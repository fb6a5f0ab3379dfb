"""The recipe's sections `training` and `stopping`."""

from __future__ import annotations

import re
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from ..settings import Location, Section


class Training(Section):
    epochs: int = Field(5, ge=1)
    batch_size: int = Field(32, ge=1, description="forget samples an optimiser step, over all processes")
    micro_batch_size: int = Field(8, ge=1, description="forget samples a forward pass on each process")
    learning_rate: float = Field(1e-4, gt=0)
    learning_rate_scale: Literal["none", "initialization"] = Field(
        "none",
        description="initialization: each layer's rate is scaled so that its first update is as large as with LoRA's "
        "default initialisation; one rate then suits every initialisation",
    )
    weight_decay: float = Field(0.01, ge=0)
    schedule: Literal["linear", "constant", "cosine"] = "linear"
    warmup: str | int = Field("1 epoch", description="'1 epoch', '10%', or a number of steps")
    max_grad_norm: float = Field(1.0, ge=0, description="0: gradients are not clipped")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 for a bf16 model on a GPU"
    )
    activation_checkpointing: bool = Field(
        False,
        description="keep only the blocks' inputs for the backward pass: less memory, a forward pass more",
    )
    report_to: list[str] = Field(
        default_factory=list, description="trackers of the Trainer, e.g. [tensorboard]"
    )

    @field_validator("warmup")
    @classmethod
    def _warmup_form(cls, value: str | int) -> str | int:
        if isinstance(value, int) and value < 0:
            raise ValueError("a number of steps cannot be negative")
        if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)? epochs?|\d+(\.\d+)?%|\d+", value):
            raise ValueError("write '1 epoch', '10%' or a number of steps")
        return value

    @model_validator(mode="after")
    def _batches_fit(self) -> Training:
        if self.batch_size % self.micro_batch_size and self.micro_batch_size < self.batch_size:
            raise ValueError(
                f"batch_size {self.batch_size} is no multiple of micro_batch_size {self.micro_batch_size}"
            )
        return self

    def warmup_steps(self, steps_an_epoch: int) -> int:
        """The warm-up in optimiser steps."""
        text = str(self.warmup)
        if "epoch" in text:
            return round(float(text.split()[0]) * steps_an_epoch)
        if text.endswith("%"):
            return round(float(text[:-1]) / 100 * steps_an_epoch * self.epochs)
        return int(text)


class Stopping(Section):
    """When training ends before its last epoch."""

    rule: Literal["thresholds", "tdec"] | None = Field(
        None,
        description="null without thresholds: all epochs are trained; else training ends once all are reached",
    )
    thresholds: dict[str, float] | Location | None = Field(
        None,
        description="metric → the value at which it is reached: at or below; at or above where it rises as the forget "
        "set is forgotten (forget_quality, perplexity …); or a file that `eval --calibrate` wrote",
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
