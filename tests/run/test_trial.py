"""A trial of the search for the learning rate: why it is left, and on which side of its aim it ended."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

import expunge.run.trial
from expunge.run.trial import _beyond, _reason_to_leave
from expunge.training.selection import Candidate


@pytest.mark.parametrize(
    ("nearest", "last", "past", "wanted"),
    [
        (True, True, True, True),  # the nearest went too far itself
        (
            False,
            True,
            True,
            True,
        ),  # it fell short, and an epoch later it was too much: smaller steps are called for
        (False, True, False, None),  # it fell short, and further on it was too much, but not clearly
        (False, None, False, False),  # the last epoch is the nearest, and falls short
        (None, None, False, None),  # nothing says on which side it is
    ],
)
def test_on_which_side_of_its_aim_a_trial_is(
    nearest: bool | None, last: bool | None, past: bool, wanted: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = Candidate(1, 0.9, 0.6), Candidate(2, 0.8, 0.6)
    monkeypatch.setattr(expunge.run.trial, "_compared_logs", lambda job, folder, epoch: (epoch.epoch, None))
    benchmark = SimpleNamespace(
        beyond=lambda epoch, reference, before: nearest if epoch == 1 else last,
        past_its_aim=lambda epoch, reference, before: past,
    )
    job: Any = SimpleNamespace(
        objective=SimpleNamespace(aims="probabilities"), benchmark=benchmark, original_log=None
    )
    folder: Any = None
    found = _beyond(job, folder, first, second if last is not None else first)
    assert found is wanted
    job.objective.aims = "answers"
    assert _beyond(job, folder, first, second) is None


def leaving(
    monkeypatch: pytest.MonkeyPatch,
    measured: Sequence[Candidate],
    past: bool = False,
    compared: float = 0.5,
    start: float = 0.1,
    choose: str = "useful",
    thresholds: Sequence[str] = (),
) -> Any:
    """A job whose trials have these epochs, and as best score 1, as that of before `start`, as resolution 0.02."""
    monkeypatch.setattr(expunge.run.trial, "_past_its_aim", lambda job, folder, epoch: past)
    monkeypatch.setattr(expunge.run.trial, "_compared_score", lambda job, folder, epoch: compared)
    monkeypatch.setattr(expunge.run.trial, "candidates", lambda folder: measured)
    return SimpleNamespace(
        original_utility=1.0,
        benchmark=SimpleNamespace(score=lambda metrics, aims: start, best_score=lambda metrics, aims: 1.0),
        folder=SimpleNamespace(trial=lambda number: None),
        metrics_of_start={},
        recipe=SimpleNamespace(stopping=SimpleNamespace(choose=choose)),
        thresholds=thresholds,
        objective=SimpleNamespace(aims="probabilities"),
        resolution=0.02,
    )


@pytest.mark.parametrize(
    ("epoch", "utility", "past", "left"),
    [
        (1, 0.96, True, True),
        (2, 0.90, True, False),  # what is lost while the forget set goes can be won back
        (3, 0.90, True, True),  # a third of nine
        (3, 0.90, False, False),
        (9, 0.90, True, False),  # it is over as it is
    ],
)
def test_a_trial_past_its_aim_is_left_at_once_or_without_the_utility_after_a_third(
    epoch: int, utility: float, past: bool, left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = leaving(monkeypatch, [], past)
    plan: Any = SimpleNamespace(epochs=9)
    reason = _reason_to_leave(job, plan, 1, Candidate(epoch, 0.9, utility))
    assert (reason == "less of the forget set is left than of what was never seen") is left
    assert (reason is None) is not left


@pytest.mark.parametrize(
    ("epoch", "score", "left"),
    [
        (2, 0.70, False),  # a third of nine are not over
        (4, 0.70, True),
        (4, 0.81, True),  # a tenth of what had been forgotten, from 0.1 to 0.9, is 0.08
        (4, 0.83, False),
        (9, 0.70, False),  # it is over as it is
    ],
)
@pytest.mark.parametrize("before", [Candidate(1, 0.90, 0.96), Candidate(1, 0.95, 0.90)])
def test_a_trial_is_left_where_what_was_forgotten_comes_back(
    epoch: int, score: float, left: bool, before: Candidate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What had forgotten better without the utility could not have been handed over."""
    job = leaving(monkeypatch, [before, Candidate(epoch, score, 0.96), Candidate(epoch + 1, 1.0, 0.96)])
    plan: Any = SimpleNamespace(epochs=9)
    reason = _reason_to_leave(job, plan, 1, Candidate(epoch, score, 0.96))
    kept = before.utility >= 0.95
    assert (reason == "an earlier epoch was nearer to its aim, with the utility kept") is (left and kept)
    assert (reason is None) is not (left and kept)


@pytest.mark.parametrize(
    ("epoch", "score", "compared", "utility", "left"),
    [
        (2, 0.99, 0.99, 1.0, False),  # a third of nine are not over
        (3, 0.99, 0.99, 1.0, True),
        (3, 0.97, 0.99, 1.0, False),  # by all questions it is not there
        (3, 0.99, 0.97, 1.0, False),  # nor by those that trials are compared by
        (3, 0.99, 0.99, 0.99, False),  # λ rises: the utility may be won back
        (9, 0.99, 0.99, 1.0, False),  # it is over as it is
    ],
)
def test_a_trial_is_left_where_nothing_is_left_to_gain(
    epoch: int, score: float, compared: float, utility: float, left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, plan = leaving(monkeypatch, [], compared=compared), SimpleNamespace(epochs=9)
    reason = _reason_to_leave(job, plan, 1, Candidate(epoch, score, utility))  # type: ignore[arg-type]
    assert reason == ("nothing is left to gain" if left else None)
    # Thresholds ask for more than the score, and a change that is none can be at its aim from the first.
    job = leaving(monkeypatch, [], compared=compared, thresholds=["forget_probability"])
    assert _reason_to_leave(job, plan, 1, Candidate(epoch, score, utility)) is None  # type: ignore[arg-type]
    job = leaving(monkeypatch, [], compared=compared)
    futile = Candidate(epoch, score, utility, futile="unchanged")
    assert _reason_to_leave(job, plan, 1, futile) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "now", "start", "choose", "left"),
    [
        (Candidate(1, 0.35, 0.96), 0.331, 0.25, "useful", False),  # 0.019: no more than the resolution
        (Candidate(1, 0.35, 0.96), 0.329, 0.25, "useful", True),
        (Candidate(1, 0.90, 0.96, futile="no better"), 0.50, 0.1, "useful", False),
        (Candidate(1, 0.90, 0.96), 0.50, 0.1, "last", False),  # it is the last that is handed over
    ],
)
def test_what_comes_back_is_held_against_what_can_be_told_and_handed_over(
    before: Candidate, now: float, start: float, choose: str, left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = leaving(monkeypatch, [before], start=start, choose=choose)
    plan: Any = SimpleNamespace(epochs=9)
    assert (_reason_to_leave(job, plan, 1, Candidate(4, now, 0.96)) is not None) is left
