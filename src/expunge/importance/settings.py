"""The recipe's section `importance`."""

from __future__ import annotations

from pydantic import Field

from ..settings import Location, Section


class Importance(Section):
    """How importance is measured; the estimator is `adapter.initialization`."""

    samples: int | None = Field(None, ge=1, description="at most this many of each set; null: the whole forget set "
                                "and as many retain samples")  # fmt: skip
    batch_size: int = Field(8, ge=1)
    perturb: bool = Field(
        False, description="vila, lora_fisher: measure at W + s·BA, as the paper's text says"
    )
    official: bool = Field(
        False, description="fila, vila: what the public code does, its mistakes included, for comparison"
    )
    folder: Location = Field(
        "runs/importance",
        description="where `expunge importance` keeps what it measured; a run looks there first",
    )
