"""The recipe's section `adapter`."""

from __future__ import annotations

from pydantic import Field, field_validator

from ..importance.registry import estimators
from ..models.settings import ALL_LINEAR
from ..settings import Section, one_of

#: Initialisations that need no measurement; every importance estimator is one as well.
UNMEASURED = ("default", "pissa")
#: The initialisation on input directions: measured, but no importance (`importance/directions.py`).
DIRECTIONS = "directions"
#: Initialisations that start from B = 0, so that there is nothing to anchor.
UNANCHORED = ("default", DIRECTIONS)


class Adapter(Section):
    """The LoRA adapter that is trained."""

    initialization: str = Field(
        "default", description="default, pissa, directions, or an importance estimator"
    )
    rank: int = Field(8, ge=1)
    alpha: float = Field(16.0, gt=0, description="the adapter is scaled by alpha / rank")
    targets: str | list[str] = Field(
        ALL_LINEAR, description="all-linear, q_v, qkvo, ffn, q_v_ffn, or module names"
    )
    layers: float = Field(1.0, gt=0, le=1, description="share of the transformer blocks, from the first")

    @property
    def measured(self) -> bool:
        """Whether the adapter's start depends on the data."""
        return self.initialization not in UNMEASURED

    @field_validator("initialization")
    @classmethod
    def _known_initialization(cls, value: str) -> str:
        return one_of(value, {*estimators, *UNMEASURED, DIRECTIONS}, "initialisation")
