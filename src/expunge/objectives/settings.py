"""A recipe's losses: the two losses, their weights, and their hyper-parameters."""

from __future__ import annotations

import math
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from ..errors import nearest
from ..settings import Location, Section, is_written, one_of
from .registry import forget_losses, retain_losses

#: The papers' name of a method → keys of `objective` that the name stands for, unless the recipe gives them.
PRESETS: dict[str, dict[str, Any]] = {
    "gd": {"forget": "ga", "retain": "nll", "retain_weight": 1.0},
    "kl": {"forget": "ga", "retain": "kl", "retain_weight": 1.0},
    "rmu": {"forget": "rmu", "retain": "rmu", "retain_weight": 1200.0},
    "pdu": {
        "forget": "pdu",
        "retain": "nll",
        "retain_weight": 100.0,
        "retain_bound": 0.3,
        "retain_rate": 5.0,
    },
}


def _number(given: Any) -> Any:
    """YAML takes 1e-1, without a point, for a text."""
    try:
        return float(given) if isinstance(given, str) else given
    except ValueError:
        return given


def _one_or_two(given: Any) -> Any:
    several = isinstance(given, (list, tuple)) and len(given) == 2
    numbers = [_number(number) for number in (given if several else [given])]
    if any(
        isinstance(number, bool) or not isinstance(number, (int, float)) or number < 0 for number in numbers
    ):
        raise ValueError(
            f"retain_weight is {given!r}: λ is a number from 0 on, or two, at the first step and at the last"
        )
    return tuple(numbers) if several else numbers[0]


RetainWeight = Annotated[float | tuple[float, float], BeforeValidator(_one_or_two)]


class ObjectiveSettings(Section):
    """forget loss + retain_weight · retain loss. `objective: gd` names one of the papers' combinations.

    Further keys are the hyper-parameters of the two losses (`expunge methods`), by default the loss's own values.
    """

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    forget: str = "ihl"
    retain: str = "nll"
    retain_weight: RetainWeight = Field(
        (1.0, 6.0),
        description="λ; of two numbers the first at the first step, rising evenly to the second at the last, but the "
        "first again while the last measured epoch had lost no utility",
    )
    retain_bound: float | None = Field(
        None,
        ge=0,
        description="hold the retain loss under this many nats a token: λ becomes its dual variable",
    )
    retain_rate: float = Field(1.0, gt=0, description="step size of the dual variable")
    substitutes: Location | None = Field(
        None,
        description="idk, dpo: a file of refusals, one a line; altpo: the forget questions, each with another answer",
    )

    @property
    def retain_weights(self) -> tuple[float, float]:
        """λ at the first and at the last step."""
        weight = self.retain_weight
        return weight if isinstance(weight, tuple) else (weight, weight)

    @property
    def hyperparameters(self) -> dict[str, float]:
        """Name → value, of both losses."""
        return dict(self.model_extra or {})

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, value: Any) -> Any:
        given = {"forget": value} if isinstance(value, str) else value
        name = given.get("forget") if isinstance(given, dict) else None
        if isinstance(name, str) and name in PRESETS:
            return {**PRESETS[name], **given, "forget": PRESETS[name]["forget"]}
        if isinstance(given, dict) and given.get("retain_bound") is not None:
            return {"retain_weight": 1.0, **given}  # λ moves by itself, and from one value
        return given

    @model_validator(mode="after")
    def _hyperparameters(self, info: ValidationInfo) -> ObjectiveSettings:
        if is_written(info):
            return self
        if self.retain == "none" and self.retain_bound is not None:
            raise ValueError(
                f"retain_bound is {self.retain_bound:g}, but with retain: none there is no retain loss to hold under "
                "it. Give one (nll, kl), or leave retain_bound out."
            )
        if self.retain_bound is not None and not isinstance(self.retain_weight, float):
            raise ValueError(
                "retain_weight has two numbers, and with retain_bound λ moves by itself. Give the one that it begins "
                "with."
            )
        if self.substitutes is not None and forget_losses[self.forget].substitute is None:
            losses, _ = forget_losses.loadable()
            those_that_do = ", ".join(name for name, loss in losses.items() if loss.substitute)
            raise ValueError(
                f"substitutes is {self.substitutes!r}, but {self.forget} uses no substitutes. Leave it out, or choose "
                f"a forget loss that does: {those_that_do}."
            )
        every = [loss for losses in (forget_losses, retain_losses) for loss in losses.loadable()[0].values()]
        known = {name for loss in every for name in loss.hyperparameters}
        used = [forget_losses[self.forget]]
        used += [] if self.retain == "none" else [retain_losses[self.retain]]
        given = self.hyperparameters
        for name, value in given.items():
            if name not in known:
                keys = {*known, *type(self).model_fields}
                raise ValueError(f"there is no key or hyper-parameter {name!r}. {nearest(name, keys)}")
            try:
                number = not isinstance(value, bool) and math.isfinite(float(value))
            except (TypeError, ValueError, OverflowError):
                number = False
            if not number:
                raise ValueError(f"{name} is {value!r}, which is no number")
        assert self.__pydantic_extra__ is not None
        self.__pydantic_extra__.clear()
        for loss in used:  # a sweep over losses may name a key that one of them does not use
            self.__pydantic_extra__.update(loss.settings.model_validate(given).model_dump())
        return self

    @field_validator("forget")
    @classmethod
    def _known_forget(cls, value: str, info: ValidationInfo) -> str:
        return value if is_written(info) else one_of(value, {*forget_losses, *PRESETS}, "forget loss")

    @field_validator("retain")
    @classmethod
    def _known_retain(cls, value: str, info: ValidationInfo) -> str:
        return value if is_written(info) else one_of(value, {*retain_losses, "none"}, "retain loss")
