"""The recipe's section `importance`."""

from __future__ import annotations

from pydantic import Field

from ..settings import Location, Section


class Importance(Section):
    """The settings of the measurement; the estimator is `adapter.initialization`."""

    samples: int | None = Field(None, ge=1, description="at most this many of each set; null: the whole forget set "
                                "and as many retain samples")  # fmt: skip
    batch_size: int = Field(
        8,
        ge=1,
        description="samples of a forward pass on each process; it changes the result only with official, where the "
        "papers' code has 4 on each of two processes",
    )
    perturb: bool = Field(
        False, description="vila, lora_fisher: measure at W + s·BA, as the paper's text says"
    )
    official: bool = Field(
        False,
        description="fila, vila: what the public code does, its mistakes included, for comparison: that of the "
        "initialisation's own paper",
    )
    passes: int | None = Field(
        None,
        ge=1,
        description="with official: passes over the samples, drawn anew at each; null: vila 10, fila 1 as in LoKU's "
        "code (VILA's code makes 10 for fila as well)",
    )
    folder: Location = Field(
        "runs/importance",
        description="where `expunge importance` keeps what it measured; a run looks there first",
    )
