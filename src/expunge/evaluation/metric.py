"""A measured figure with the number of observations behind it and, for a mean, its uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

#: Indices drawn at once while resampling: bounds the memory to a few tens of megabytes.
DRAWS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Metric:
    """`value` over `n` observations; `low` and `high` bound its 95 % interval where it is a mean.

    A p-value depends on `n`: two of them with different `n` must not be compared.
    """

    value: float
    n: int
    low: float | None = None
    high: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Metric:
        return cls(value["value"], value["n"], value.get("low"), value.get("high"))


def mean_with_interval(values: Sequence[float] | np.ndarray, seed: int = 0, resamples: int = 1000) -> Metric:
    """The mean of `values`, shape (n,), with the 95 % interval of the percentile bootstrap (Efron 1979).

    The same seed gives the same interval. Raises ValueError for no values.
    """
    observed = np.asarray(values, dtype=np.float64)
    n = len(observed)
    if n == 0:
        raise ValueError("The mean of no values is not defined.")
    generator = np.random.default_rng(seed)
    rows = max(1, DRAWS_AT_ONCE // n)
    means = np.concatenate(
        [
            observed[generator.integers(0, n, size=(min(rows, resamples - start), n))].mean(axis=1)
            for start in range(0, resamples, rows)
        ]
    )
    low, high = np.percentile(means, [2.5, 97.5])
    return Metric(float(observed.mean()), n, float(low), float(high))
