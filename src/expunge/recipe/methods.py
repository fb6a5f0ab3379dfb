"""The `method` of a recipe: how the model is made to forget. `run/methods` does what is named here.

`method: uld` is short for `method: {name: uld}`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field

from ..errors import nearest
from ..settings import Location, Section


class Method(Section):
    """What every method's section states about the rest of the recipe.

    implied: values of other keys where the recipe leaves them out
    """

    implied: ClassVar[dict[str, Any]] = {}

    @property
    def unused(self) -> frozenset[str]:
        """Sections of the recipe that the method has no use for."""
        return frozenset()


class Unlearn(Method):
    """An adapter is trained by a forget loss and a retain loss."""

    name: Literal["unlearn"] = "unlearn"


class AllWeights(Method):
    """All weights are trained by a forget loss and a retain loss."""

    implied: ClassVar[dict[str, Any]] = {"adapter": {"initialization": "default"}, "export": ["merged"]}

    name: Literal["all_weights"] = "all_weights"

    @property
    def unused(self) -> frozenset[str]:
        return frozenset({"adapter", "importance", "tuning"})


class TaskArithmetic(Method):
    """An adapter is trained on the forget set, and subtracted."""

    implied: ClassVar[dict[str, Any]] = {"adapter": {"initialization": "default"}}

    name: Literal["task_arithmetic"] = "task_arithmetic"
    scale: float = Field(1.0, gt=0, description="how many times the change is subtracted")

    @property
    def unused(self) -> frozenset[str]:
        return frozenset({"objective", "importance", "tuning"})


class Retrain(Method):
    """The model from which the original was made is finetuned on the retain set alone."""

    implied: ClassVar[dict[str, Any]] = {"adapter": {"initialization": "default"}, "export": ["merged"]}

    name: Literal["retrain"] = "retrain"
    base: Location = Field(description="the model before it was trained on forget and retain set")
    revision: str | None = None
    weights: Literal["all", "adapter"] = Field(
        "all", description="what is trained: all weights, or an adapter"
    )

    @property
    def unused(self) -> frozenset[str]:
        return frozenset(
            {"objective", "importance", "tuning"} | ({"adapter"} if self.weights == "all" else set())
        )


class LogitDifference(Method):
    """An assistant, the model's first blocks with an adapter, learns the forget set; its logits are subtracted."""

    implied: ClassVar[dict[str, Any]] = {"adapter": {"initialization": "default"}, "export": ["assistant"]}

    name: Literal["uld"] = "uld"
    layers: int = Field(8, ge=1, description="transformer blocks of the assistant")
    offset_weight: float = Field(
        0.75, ge=0, description="how many times the assistant's logits are subtracted"
    )
    retain_weight: float = Field(6.5, ge=0, description="weight of being uniform on the retain set")

    @property
    def unused(self) -> frozenset[str]:
        return frozenset({"objective", "importance", "tuning"})


SETTINGS: dict[str, type[Method]] = {
    section.model_fields["name"].default: section
    for section in (Unlearn, AllWeights, TaskArithmetic, Retrain, LogitDifference)
}


def method_name(value: Any) -> Any:
    """The method that a recipe's raw `method` names; what is no name is returned as it is."""
    if isinstance(value, dict):
        return value.get("name", "unlearn")
    return getattr(value, "name", value)


def _section(value: Any) -> Any:
    name = method_name(value)
    if isinstance(name, str) and name not in SETTINGS:
        raise ValueError(f"there is no method {name!r}. {nearest(name, SETTINGS)}")
    return {"name": value} if isinstance(value, str) else value


AnyMethod = Annotated[
    Annotated[Unlearn | AllWeights | TaskArithmetic | Retrain | LogitDifference, Field(discriminator="name")],
    BeforeValidator(_section),
]
