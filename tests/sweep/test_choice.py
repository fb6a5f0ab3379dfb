"""The 95 % rule, the front, and what optuna compares by."""

from __future__ import annotations

import math
from itertools import pairwise

from expunge.folder.sweep import SweepTrial, TrialResult
from expunge.sweep.choice import best, front, with_front, worth


def trial(
    number: int, choosing: float | None, share: float | None, qualified: bool, score: float | None = None
) -> SweepTrial:
    result = TrialResult(
        state="done" if choosing is not None else "diverged",
        choosing=choosing,
        score=choosing if score is None else score,
        utility=share,
        share=share,
        qualified=qualified,
    )
    return SweepTrial(number=number, values={}, result=result)


def test_the_best_by_the_choosing_half_among_those_that_keep_the_utility() -> None:
    trials = [
        trial(0, -1.0, 0.96, True, -0.1),
        trial(1, -0.5, 0.97, True, -0.9),
        trial(2, -0.5, 0.99, True),
        trial(3, -0.1, 0.94, False),
        trial(4, None, None, False),
        SweepTrial(number=5, values={}),
    ]
    assert best(trials).number == 1
    assert best(trials[3:]).number == 3
    assert best([trial(0, -1.0, 0.5, False), trial(1, -2.0, 0.9, False)]).number == 1
    assert best(trials[4:]) is None
    assert (
        best([trial(0, 0.2, None, True), trial(1, 0.4, None, True)]).number == 1
    )  # nothing measures the utility


def test_the_front_is_that_of_a_loop() -> None:
    points = [(math.sin(7 * n), math.cos(5 * n)) for n in range(60)] + [(math.sin(7), math.cos(5))]
    slow = set()
    for place, (x, y) in enumerate(points):
        beaten = False
        for a, b in points:
            beaten |= (a > x and b >= y) or (a >= x and b > y)
        if not beaten:
            slow.add(place)
    assert front(points) == slow
    assert 1 < len(slow) < 20
    trials = [
        trial(0, 0.1, 0.9, True),
        trial(1, None, None, False),
        trial(2, 0.2, 0.8, True),
        trial(3, 0.1, 0.7, True),
    ]
    marked = with_front(trials)
    assert [each.front for each in marked] == [True, False, True, False]


def test_worth_is_ordered_by_the_rule() -> None:
    rising = [
        worth(None, None, False), worth(math.nan, 0.9, True), worth(-math.inf, 0.9, True), worth(0.9, 0.1, False),
        worth(-3.0, 0.6, False), worth(-400.0, 0.9, True), worth(-2.0, 0.5, True), worth(0.0, 0.5, True),
    ]  # fmt: skip
    assert all(lower <= higher for lower, higher in pairwise(rising))
    assert len(set(rising)) == 6
    assert all(map(math.isfinite, rising))
