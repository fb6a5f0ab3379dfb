"""Which of the trials is handed over."""

from __future__ import annotations

import pytest

from expunge.folder.state import Trial
from expunge.run import tuning


def tried(score: float | None, utility: float | None, qualified: bool = True) -> Trial:
    return Trial(
        learning_rate=1e-3, state="kept", left=False, stopped=None, epochs=1, best_epoch=1, forget_score=score,
        utility=utility, qualified=qualified,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("trials", "resolution", "best"),
    [
        ([tried(0.5, 0.99), tried(0.8, 0.96)], 0.01, 2),
        (
            [tried(0.991, 0.97), tried(1.0, 0.95), tried(0.989, 0.99)],
            0.01,
            1,
        ),  # within 0.01 of the best: 1 and 2
        ([tried(-1.35, 0.9), tried(-1.36, 0.93), tried(-1.37, 0.99)], 0.01, 2),
        ([tried(0.2, 0.97), tried(1.0, 0.5, qualified=False)], 0.01, 1),
        (
            [tried(1.0, 0.5, qualified=False), tried(0.9, 0.7, qualified=False)],
            0.01,
            2,
        ),  # none keeps it: the most useful
        ([tried(0.3, None)], 0.01, 1),
        (
            [tried(-1.8, 0.99), tried(-0.55, 0.98), tried(-0.43, 0.95)],
            0.3,
            2,
        ),  # Forget Quality: half of p is as good
    ],
)
def test_which_trial_is_handed_over(trials: list[Trial], resolution: float, best: int) -> None:
    assert tuning._best(trials, resolution) == best
