"""Why membership inference takes a holdout of some size: what it makes of two models that never saw either set."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.attacks.membership import LEAST_HOLDOUT, shares_below
from expunge.attacks.recovery import recovery
from expunge.report.attacks import TOO_MUCH

REPETITIONS, ITEMS, SCORES, CORRELATION = 100, 100, 3, 0.8


def found_guilty(holdout: int) -> float:
    """The share of innocent models that some score finds guilty. An item is as hard to both models, up to a part."""
    generator = np.random.default_rng(holdout)

    def scores() -> tuple[np.ndarray, np.ndarray]:
        hard = generator.standard_normal(ITEMS + holdout)
        own = generator.standard_normal((2, ITEMS + holdout))
        return tuple(CORRELATION**0.5 * hard + (1 - CORRELATION) ** 0.5 * own)

    def guilty() -> bool:
        after, reference = scores()
        values = [shares_below(each[:ITEMS], each[ITEMS:]) for each in (after, reference)]
        found = recovery([1.0] * ITEMS, None, values[0], (), values[1])
        return bool(found and found.low is not None and found.low > TOO_MUCH)

    found = [[guilty() for _ in range(SCORES)] for _ in range(REPETITIONS)]
    return float(np.any(found, axis=1).mean())


@pytest.mark.parametrize(
    ("holdout", "least", "most"), [(5, 0.2, 0.6), (10, 0.1, 0.4), (LEAST_HOLDOUT, 0.0, 0.05), (40, 0.0, 0.02)]
)
def test_of_a_small_holdout_the_innocent_are_found_guilty(holdout: int, least: float, most: float) -> None:
    assert least <= found_guilty(holdout) <= most
