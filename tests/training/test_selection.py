"""The 95 % rule, and the guard against divergence."""

from __future__ import annotations

import math

import pytest
from transformers import TrainerControl, TrainerState

from expunge.evaluation.metric import Metric
from expunge.training.callback import EpochCallback
from expunge.training.selection import Candidate, Choice, choose, last
from expunge.training.stopping import all_reached


def test_the_best_forgotten_of_those_that_keep_the_utility() -> None:
    epochs = [Candidate(1, -9.0, 0.60), Candidate(2, -3.0, 0.58), Candidate(3, -0.5, 0.56)]
    assert choose(epochs, original_utility=0.60) == Choice(2, qualified=True)
    assert choose(epochs, original_utility=0.50) == Choice(3, qualified=True)


def test_exactly_95_percent_is_kept() -> None:
    assert Candidate(1, 0.0, 0.95).qualifies(1.0)
    assert not Candidate(1, 0.0, 0.9499999).qualifies(1.0)


def test_where_none_keeps_it_the_most_useful_is_taken_and_marked() -> None:
    epochs = [Candidate(1, -9.0, 0.3), Candidate(2, -3.0, 0.5), Candidate(3, 0.0, 0.4)]
    assert choose(epochs, original_utility=0.9) == Choice(2, qualified=False)


def test_of_epochs_that_cannot_be_told_apart_the_most_useful() -> None:
    epochs = [
        Candidate(1, 0.80, 0.99),
        Candidate(2, 0.885, 0.98),
        Candidate(3, 0.90, 0.96),
        Candidate(4, 0.89, 0.94),
    ]
    assert choose(epochs, 1.0, 0.02) == Choice(2, qualified=True)
    assert choose(epochs, 1.0, 0.01) == Choice(
        3, qualified=True
    )  # 0.885 is worse; the fourth keeps too little
    assert choose(epochs, 1.0) == Choice(3, qualified=True)
    assert choose([Candidate(1, 0.5, math.nan), Candidate(2, 0.49, math.nan)], math.nan, 0.02).epoch == 1


def test_the_first_of_equals_and_no_utility_to_measure() -> None:
    assert choose([Candidate(1, -1.0, 1.0), Candidate(2, -1.0, 1.0)], 1.0).epoch == 1
    unmeasured = [Candidate(1, 0.2, math.nan), Candidate(2, 0.9, math.nan)]
    assert choose(unmeasured, math.nan) == Choice(2, qualified=True)
    with pytest.raises(ValueError, match="no candidate"):
        choose([], 1.0)


def test_the_last_epoch_is_taken_whatever_it_costs_but_not_where_it_forgets_nothing() -> None:
    epochs = [Candidate(1, -1.0, 0.99), Candidate(2, -2.0, 0.2)]
    assert last(epochs, original_utility=1.0) == Choice(2, qualified=False)
    assert last(epochs[:1], original_utility=1.0) == Choice(1, qualified=True)
    spoilt = Candidate(3, -3.0, 1.0, futile="no better")
    assert last([*epochs, spoilt], original_utility=1.0) == Choice(None, qualified=False)
    with pytest.raises(ValueError, match="no candidate"):
        last([], 1.0)


def test_the_tdec_rule_asks_for_both_metrics_at_or_below_their_thresholds() -> None:
    thresholds = {"likelihood": 0.05, "accuracy": 0.3}

    def reached(likelihood: float, accuracy: float) -> bool:
        return all_reached(thresholds, {"likelihood": Metric(likelihood, 8), "accuracy": Metric(accuracy, 8)})

    assert reached(0.05, 0.3)
    assert not reached(0.05, 0.31)
    assert not reached(0.051, 0.0)
    assert not all_reached({}, {})


def test_the_epoch_that_reached_the_thresholds_is_chosen() -> None:
    epochs = [Candidate(1, 5.0, 1.0), Candidate(2, 1.0, 0.96, reached=True)]
    assert choose(epochs, original_utility=1.0) == Choice(2, qualified=True)


def callback(utility: float = 0.9) -> tuple[EpochCallback, list]:
    rows: list = []
    made = EpochCallback(
        lambda epoch: (Candidate(epoch, -1.0, utility), {}), lambda row, steps: rows.append((row, steps)),
        original_utility=1.0, utility_floor=0.5, epochs=5,
    )  # fmt: skip
    return made, rows


HISTORY = [
    {"step": 1, "epoch": 1.0, "forget_loss": 1.5, "retain_loss": 0.2, "learning_rate": 0.1, "loss": 1.7}
]


def test_an_epoch_is_recorded_with_its_steps() -> None:
    made, rows = callback()
    control = TrainerControl()
    made.on_epoch_end(None, TrainerState(epoch=1.0, global_step=1, log_history=HISTORY), control)
    (row, steps) = rows[0]
    assert (row["epoch"], row["step"], row["qualifies"], row["stopped"]) == (1, 1, False, None)
    assert steps == [{key: value for key, value in HISTORY[0].items() if key != "loss"}]
    assert not control.should_training_stop


@pytest.mark.parametrize("name", ["forget_loss", "retain_loss", "grad_norm"])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_no_number_stops_and_is_not_saved(name: str, value: float) -> None:
    made, rows = callback()
    control = TrainerControl(should_save=True)
    made.on_log(None, TrainerState(global_step=7), control, logs={name: value})
    assert control.should_training_stop
    made.on_epoch_end(None, TrainerState(epoch=1.0, log_history=HISTORY), control)
    assert not control.should_save
    assert rows == []
    assert "at step 7" in made.stopped


def test_without_a_retain_set_no_utility_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    made, _ = callback(utility=math.nan)
    made.original_utility = math.nan
    made.on_epoch_end(None, TrainerState(epoch=2.0, global_step=1, log_history=HISTORY), TrainerControl())
    assert made.stopped is None
    said = capsys.readouterr().err
    assert said.startswith("  epoch 2/5: forget loss 1.500, retain loss 0.200, forget score -1, ")
    assert said.endswith("utility not measured, as there is no retain set\n")


def test_a_lost_utility_stops_after_the_epoch_and_says_so() -> None:
    made, rows = callback(utility=0.4)
    control = TrainerControl(should_save=True)
    made.on_epoch_end(None, TrainerState(epoch=2.0, global_step=1, log_history=HISTORY), control)
    assert control.should_training_stop
    assert control.should_save
    assert rows[0][0]["stopped"] == made.stopped
    assert "40% of the original's at epoch 2" in made.stopped


def test_an_epoch_that_forgets_nothing_is_never_chosen() -> None:
    """Not for its utility, nor as the one that reached the thresholds; where all are such, none is."""
    untouched = Candidate(1, 0.0, 1.0, reached=True, futile="unchanged")
    spoilt = Candidate(2, -0.1, 0.99, futile="no better")
    assert choose([untouched, spoilt, Candidate(3, 0.5, 0.9)], 1.0) == Choice(3, qualified=False)
    assert choose([untouched, spoilt], 1.0) == Choice(None, qualified=False)
