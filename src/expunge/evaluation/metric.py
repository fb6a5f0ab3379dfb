"""A measured figure with the number of observations behind it and, for a mean, its uncertainty."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Any

import numpy as np
import scipy  # its parts are loaded when they are first used
from pydantic import Field, StrictFloat, StrictInt

#: Indices drawn at once while resampling: bounds the memory to a few tens of megabytes.
DRAWS_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Metric:
    """`value` over `n` observations; `low` and `high` bound its 95 % interval where it is a mean.

    A p-value depends on `n`: two of them with different `n` must not be compared.
    """

    value: StrictFloat
    n: Annotated[StrictInt, Field(ge=0)]
    low: StrictFloat | None = None
    high: StrictFloat | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Metric:
        return cls(value["value"], value["n"], value.get("low"), value.get("high"))


def mean_with_interval(values: Sequence[float] | np.ndarray, seed: int = 0, resamples: int = 1000) -> Metric:
    """The mean of `values`, shape (n,), with the 95 % interval of the percentile bootstrap (Efron 1979).

    The same seed gives the same interval; one value has none. Raises ValueError for no values.
    """
    observed = np.asarray(values, dtype=np.float64)
    n = len(observed)
    if n == 0:
        raise ValueError("The mean of no values is not defined.")
    if n == 1:
        return Metric(float(observed[0]), 1)
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


def interval(
    statistic: Callable[..., np.ndarray], *samples: Sequence[float] | np.ndarray, paired: bool = False
) -> tuple[float, float] | tuple[None, None]:
    """The 95 % interval of a statistic that is no mean, by the percentile bootstrap with 1000 resamples.

    statistic: takes the samples, of shape (…, n), and `axis`, along which it reduces
    paired:    the samples are of the same observations and are resampled together

    (None, None) where a sample has fewer than two observations, or the statistic is no number as a diverged model's.
    The same samples give the same interval.
    """
    observed = tuple(np.asarray(sample, dtype=np.float64) for sample in samples)
    if min(len(sample) for sample in observed) < 2 or not np.isfinite(statistic(*observed, axis=-1)):
        return None, None
    bounds = scipy.stats.bootstrap(
        observed,
        statistic,
        n_resamples=1000,
        batch=max(1, DRAWS_AT_ONCE // sum(len(sample) for sample in observed)),
        vectorized=True,
        paired=paired,
        method="percentile",
        random_state=np.random.default_rng(0),
    ).confidence_interval
    return float(bounds.low), float(bounds.high)


def mean_of_means(groups: Sequence[Sequence[float]]) -> Metric:
    """The mean of the groups' means, in which all groups count the same; a group is resampled by itself.

    n is the number of all observations.
    """
    mean = float(np.mean([np.mean(group) for group in groups]))
    return Metric(mean, sum(map(len, groups)), *interval(_mean_of_means, *groups))


def _mean_of_means(*groups: np.ndarray, axis: int) -> np.ndarray:
    return np.mean([group.mean(axis=axis) for group in groups], axis=0)
