"""The share of the lost knowledge that came back: hand-derived numbers, its interval, and what has no resolution."""

from __future__ import annotations

import numpy as np
import pytest

from expunge.attacks.recovery import Recovery, recovery

Values = list[float]


def _around(mean: float, n: int = 40) -> Values:
    """Values with that mean that differ from item to item."""
    return [mean + (0.02 if item % 2 else -0.02) for item in range(n)]


def _covers(result: Recovery, share: float) -> bool:
    return result.low is not None and result.high is not None and result.low <= share <= result.high


def test_the_share_by_hand() -> None:
    """E₀ = (0.3 − 0.1) / (0.9 − 0.1) = 0.25; E_a = (0.5 − 0.2) / (0.9 − 0.2) = 3/7; RS = (3/7 − 1/4) / (3/4) = 5/21."""
    result = recovery(*(_around(mean) for mean in (0.9, 0.3, 0.5, 0.1, 0.2)))
    assert result.left == pytest.approx(0.25)
    assert result.share == pytest.approx(5 / 21)
    assert _covers(result, 5 / 21)
    assert (result.n, result.original, result.attacked_reference) == (
        40,
        pytest.approx(0.9),
        pytest.approx(0.2),
    )


def test_what_lies_below_the_reference_was_lost_altogether() -> None:
    """E₀ = −0.125 counts as 0, so RS = E_a = (0.5 − 0.1) / 0.8."""
    result = recovery(*(_around(mean) for mean in (0.9, 0.0, 0.5, 0.1, 0.1)))
    assert result.left == pytest.approx(-0.125)
    assert result.share == pytest.approx(0.5)


def test_a_score_that_nothing_was_measured_by_before() -> None:
    """E₀ = 0: RS = (0.5 − 0.2) / (0.9 − 0.2)."""
    result = recovery(_around(0.9), None, _around(0.5), (), _around(0.2))
    assert result.share == pytest.approx(3 / 7)
    assert (result.after, result.reference) == (None, None)


@pytest.mark.parametrize(
    ("means", "why"),
    [
        ((0.1, 0.1, 0.1, 0.1, 0.1), "knew no more"),  # never knew
        ((0.9, 0.9, 0.9, 0.1, 0.1), "nothing was lost"),
        ((0.9, 0.1, 0.9, 0.1, 0.9), "the attack teaches"),  # the reference learns it as well
    ],
)
def test_without_resolution_there_is_no_share(means: tuple[float, ...], why: str) -> None:
    result = recovery(*(_around(mean) for mean in means))
    assert result.share is result.low is result.high is None
    assert why in (result.unresolved or "")
    assert result.attacked == pytest.approx(means[2])


def test_without_anything_to_compare_with_there_are_raw_values() -> None:
    result = recovery(_around(0.9), _around(0.1), _around(0.5), ground="none")
    assert (result.share, result.reference) == (None, None)
    assert result.attacked == pytest.approx(0.5)


def test_without_an_item_that_all_have_a_value_of_there_is_no_comparison() -> None:
    nan = float("nan")
    assert recovery([0.9, nan], [0.3, 0.3], [nan, 0.5], [0.1, 0.1], [0.2, 0.2]) is None


def test_a_holdout_of_another_size_is_an_upper_bound() -> None:
    result = recovery(
        *(_around(m) for m in (0.9, 0.3, 0.5)), _around(0.1, 10), _around(0.2, 10), ground="holdout"
    )
    assert result.upper_bound
    assert result.share == pytest.approx(5 / 21)


def test_items_without_a_value_are_left_out() -> None:
    values = [_around(mean) for mean in (0.9, 0.3, 0.5, 0.1, 0.2)]
    for side in values:
        side += [0.0, 0.0]
    values[2][-1] = values[4][-2] = float("nan")
    assert recovery(*values).n == 40


def test_the_interval_covers_the_truth() -> None:
    """400 draws of 60 items whose values are correlated between models, as those of questions are; RS is 0.2, exactly:
    E₀ = 0.25, E_a = 0.4."""
    means = np.array([0.8, 0.3, 0.42, 0.3 - 0.5 / 3, 0.3 - 0.5 / 3])
    f, u, _, r, r_a = means
    left = (u - r) / (f - r)
    u_a = r_a + (0.2 * (1 - left) + left) * (f - r_a)
    generator = np.random.default_rng(0)
    hits = 0
    for draw in range(400):
        hard = generator.beta(2, 2, size=60) - 0.5
        values = [mean + 0.3 * hard + generator.normal(0, 0.08, size=60) for mean in (f, u, u_a, r, r_a)]
        result = recovery(*values, seed=draw)
        hits += _covers(result, 0.2)
    assert 0.92 <= hits / 400 <= 0.98


def test_the_interval_covers_the_truth_beside_a_holdout() -> None:
    """As above, but what was never seen are 40 other items, drawn by themselves."""
    generator = np.random.default_rng(1)
    f, u, r = 0.8, 0.3, 0.3 - 0.5 / 3
    left = (u - r) / (f - r)
    u_a = r + (0.2 * (1 - left) + left) * (f - r)
    hits = 0
    for draw in range(400):
        hard, other = (generator.beta(2, 2, size=size) - 0.5 for size in (60, 40))
        ours = [mean + 0.3 * hard + generator.normal(0, 0.08, size=60) for mean in (f, u, u_a)]
        theirs = [r + 0.3 * other + generator.normal(0, 0.08, size=40) for _ in range(2)]
        result = recovery(*ours, *theirs, ground="holdout", seed=draw)
        assert result is not None
        assert result.upper_bound
        hits += _covers(result, 0.2)
    assert 0.92 <= hits / 400 <= 0.98


def test_the_interval_of_a_score_of_the_attacks_own_covers_the_truth() -> None:
    """As membership inference has one: nothing is known from before the attack, so all counts as lost, E₀ = 0."""
    generator = np.random.default_rng(2)
    f, r_a = 0.95, 0.5
    u_a = r_a + 0.2 * (f - r_a)
    hits = 0
    for draw in range(400):
        hard = generator.beta(2, 2, size=60) - 0.5
        values = [mean + 0.3 * hard + generator.normal(0, 0.1, size=60) for mean in (f, u_a, r_a)]
        hits += _covers(recovery(values[0], None, values[1], (), values[2], seed=draw), 0.2)
    assert 0.92 <= hits / 400 <= 0.98


def test_the_reference_against_itself_brings_nothing_back() -> None:
    generator = np.random.default_rng(1)
    original = generator.beta(8, 2, size=100).tolist()
    plain, attacked = (generator.beta(2, 8, size=100).tolist() for _ in range(2))
    result = recovery(original, plain, attacked, plain, attacked)
    assert result.share == pytest.approx(0.0)
    assert _covers(result, 0)
