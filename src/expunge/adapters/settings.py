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

#: Of the adapter where the recipe leaves it open: more of it keeps more, and what is forgotten comes back less.
RANK = 32


class Adapter(Section):
    """The LoRA adapter that is trained."""

    initialization: str = Field(
        DIRECTIONS, description="directions, default (LoRA's own), pissa, or an importance estimator"
    )
    rank: int = Field(RANK, ge=1)
    alpha: float = Field(
        default_factory=lambda given: 2.0 * given.get("rank", RANK),
        gt=0,
        description="the adapter is scaled by alpha / rank; twice the rank where it is left out",
    )
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
