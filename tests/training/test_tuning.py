"""The settings that follow from the request's size, and the order in which learning rates are tried."""

from __future__ import annotations

import math

import pytest

from expunge.training.settings import Training
from expunge.training.tuning import Tried, next_rate


@pytest.mark.parametrize(
    ("samples", "batch", "epochs"),
    # steps an epoch: 1, 4, 5, 5, 7, 13 → 40 or more in all, and 5 epochs at least
    [(1, 1, 40), (3, 1, 14), (8, 2, 10), (40, 8, 8), (100, 16, 6), (400, 32, 5)],
)
def test_small_requests_get_small_batches_and_enough_steps(samples: int, batch: int, epochs: int) -> None:
    plan = Training().plan(samples)
    assert (plan.batch_size, plan.epochs) == (batch, epochs)
    assert plan.micro_batch_size == min(4, batch)
    assert plan.epochs * plan.steps_an_epoch(samples) >= 40
    assert plan.learning_rate == 1e-4
    assert not plan.first_step_at_zero


def test_what_is_given_stays() -> None:
    given = Training(epochs=3, batch_size=6, micro_batch_size=3, learning_rate=2e-3, warmup="1 epoch")
    plan = given.plan(8)
    assert plan.model_dump() == given.model_dump()
    assert plan.first_step_at_zero
    assert plan.plan(8) == plan
    assert Training(batch_size=6, micro_batch_size=6).plan(12).epochs == 20  # 2 steps an epoch


def test_micro_batches_of_one_s_own_divide_the_batch() -> None:
    assert [Training().plan(20, processes).batch_size for processes in (1, 2, 3, 8)] == [4, 4, 6, 8]
    assert Training(batch_size=4).plan(20, 8).batch_size == 4  # as it was given: refused where it is used
    plan = Training(micro_batch_size=6).plan(64)
    assert (plan.batch_size, plan.micro_batch_size) == (16, 4)
    assert Training(batch_size=6).plan(64).micro_batch_size == 3


def searched(
    first: float, border: float, trials: int = 20, peak: float = math.inf, known: bool = False
) -> list[float]:
    """The rates that are tried where those up to `border` keep the utility, and forgetting is best at `peak`.

    known: whether a trial says on which side of the peak it is
    """
    tried: list[Tried] = []
    while len(tried) < trials and (rate := next_rate(first, tried)) is not None:
        score = -abs(math.log(rate / peak)) if math.isfinite(peak) else rate
        tried.append(Tried(rate, score if rate <= border else None, rate > peak if known else None))
    return [trial.learning_rate for trial in tried]


def test_doubled_then_bisected_on_the_logarithm() -> None:
    # 4e-3 keeps, 8e-3 does not: √(4·8) = 5.66, √(4·5.66) = 4.76, and 5.66 / 4.76 < 1.2
    assert searched(1e-3, 5e-3) == [1e-3, 2e-3, 4e-3, 8e-3, 5.66e-3, 4.76e-3]


def test_halved_where_the_first_is_too_high() -> None:
    # √(2.5·5) = 3.54 keeps, √(3.54·5) = 4.21
    assert searched(1e-2, 4e-3) == [1e-2, 5e-3, 2.5e-3, 3.54e-3, 4.21e-3]


def test_the_border_is_met_from_any_start() -> None:
    for first in (1e-5, 3e-4, 2e-3, 0.5):
        rates = searched(first, 7e-3, 40)
        kept = max(rate for rate in rates if rate <= 7e-3)
        lost = min(rate for rate in rates if rate > 7e-3)
        assert kept <= 7e-3 < lost <= 1.2 * kept * (1 + 1e-12)
        assert math.isclose(rates[0], first)


def test_where_forgetting_goes_too_far_the_search_turns() -> None:
    # 2 is better than 4, so √(2·4) = 2.83; of its gaps to 4 and to 2 the second is wider by rounding: √(2·2.83) = 2.38
    # is worse; √(2.83·4) = 3.36 is worse, and 3.36 / 2.83 and 2.83 / 2.38 are under 1.2
    assert searched(1e-3, 1.0, peak=2.6e-3) == [1e-3, 2e-3, 4e-3, 2.83e-3, 2.38e-3, 3.36e-3]
    # the first is past the best: halved until it is better no more; of two equal gaps the upper one, √(2.5·5) = 3.54
    assert searched(1e-3, 1.0, 6, peak=2e-4) == [1e-3, 2e-3, 5e-4, 2.5e-4, 1.25e-4, 3.54e-4]


def test_a_trial_that_says_that_it_went_too_far_is_not_followed_by_a_higher_one() -> None:
    # as above, but 2.83 lies beyond the peak, so nothing above it is tried; 2.83 / 2.38 is under 1.2
    assert searched(1e-3, 1.0, peak=2.6e-3, known=True) == [1e-3, 2e-3, 4e-3, 2.83e-3, 2.38e-3]
    # √(1.25·2.5) = 1.77, on the other side; √(1.77·2.5) = 2.1
    assert searched(1e-3, 1.0, peak=2e-4, known=True) == [1e-3, 5e-4, 2.5e-4, 1.25e-4, 1.77e-4, 2.1e-4]


@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("peak", [3e-4, 1.7e-3, 6e-3])
def test_the_best_rate_is_met_from_any_start(peak: float, known: bool) -> None:
    for first in (2e-4, 2e-3, 2e-2):
        rates = searched(first, 1.0, 60, peak, known)
        nearest = min(rates, key=lambda rate: abs(math.log(rate / peak)))
        assert max(nearest / peak, peak / nearest) <= 1.2


def test_what_is_equally_good_is_tried_higher() -> None:
    assert next_rate(1e-3, [Tried(1e-3, 0.9), Tried(2e-3, 0.9)]) == 4e-3


@pytest.mark.parametrize(
    ("done", "then"), [(1.0, 1e-3), (0.5, 1e-3), (0.375, 7.5e-4), (0.25, 5e-4), (0.1, 5e-4)]
)
def test_the_sooner_a_trial_went_too_far_the_lower_the_next_rate(done: float, then: float) -> None:
    assert next_rate(1e-3, [Tried(2e-3, 0.9, beyond=True, done=done)]) == then
    assert next_rate(1e-3, [Tried(2e-3, None, beyond=True, done=done)]) == then  # it lost the utility, too
    assert (
        next_rate(1e-3, [Tried(2e-3, None, beyond=True), Tried(1e-3, None, beyond=True, done=done)])
        == then / 2
    )


def test_a_trial_left_for_another_reason_is_followed_as_ever() -> None:
    assert next_rate(1e-3, [Tried(2e-3, None, done=0.25)]) == 1e-3  # it lost the utility
    assert next_rate(1e-3, [Tried(2e-3, 0.5, beyond=False, done=0.25)]) == 4e-3


def test_of_rates_that_forget_alike_the_highest_is_gone_on_from() -> None:
    """As passages on SmolLM2: 0.911 and 0.909 at 2e-3 and 4e-3, 0.988 at 8e-3."""
    two = [Tried(2e-3, 0.911), Tried(4e-3, 0.909)]
    assert next_rate(2e-3, two, resolution=0.02) == 8e-3
    assert next_rate(2e-3, two, resolution=0.001) == 1e-3  # nobody knows on which side the best one is
    assert next_rate(2e-3, [*two, Tried(8e-3, None)], resolution=0.02) == 5.66e-3
    beyond = [Tried(2e-3, 0.911, beyond=False), Tried(4e-3, 0.909, beyond=True)]
    assert next_rate(2e-3, beyond, resolution=0.02) == 2.83e-3  # 4e-3 went too far
