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
    ("trials", "best"),
    [
        ([tried(0.5, 0.99), tried(0.8, 0.96)], 2),
        ([tried(0.991, 0.97), tried(1.0, 0.95), tried(0.989, 0.99)], 1),  # within 0.01 of the best: 1 and 2
        ([tried(-1.35, 0.9), tried(-1.36, 0.93), tried(-1.37, 0.99)], 2),
        ([tried(0.2, 0.97), tried(1.0, 0.5, qualified=False)], 1),
        (
            [tried(1.0, 0.5, qualified=False), tried(0.9, 0.7, qualified=False)],
            2,
        ),  # none keeps it: the most useful
        ([tried(0.3, None)], 1),
    ],
)
def test_which_trial_is_handed_over(trials: list[Trial], best: int) -> None:
    assert tuning._best(trials) == best
