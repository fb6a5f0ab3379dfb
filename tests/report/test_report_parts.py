"""Truth ratios, the importance grid and the writing of numbers, against values worked out by hand."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from synthetic_run import write_run

from expunge.benchmarks.measures import in_order, label
from expunge.benchmarks.tofu.metrics import forget_log_ratios, shift
from expunge.errors import InputError
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.folder.run import RunFolder
from expunge.report.glossary import glossary
from expunge.report.importance_map import importance_by_layer, importance_map
from expunge.report.page import write_report
from expunge.report.quantities import count, duration, interval, number, size
from expunge.report.tables import trial_rows


def answer(average: float, tokens: int) -> Likelihood:
    return Likelihood(average * tokens, tokens)


def test_truth_ratio_of_each_question():
    """R = exp(avg right − mean avg wrong): exp(1 − 2.5); without a paraphrase, the answer: exp(2 − 1)."""
    wrong = (answer(2.0, 5), answer(3.0, 7))
    forget = [
        QuestionRecord(0, answer(9.0, 3), paraphrased=answer(1.0, 4), perturbed=wrong),
        QuestionRecord(1, answer(2.0, 3), perturbed=(answer(1.0, 2),)),
        QuestionRecord(2, answer(2.0, 3)),  # own data has no wrong answers
    ]
    ratios = forget_log_ratios(EvaluationLog("tofu", "1", False, {"forget": forget}))
    assert ratios == pytest.approx([-1.5, 1.0])
    assert len(forget_log_ratios(EvaluationLog("tofu", "1", False, {"retain": []}))) == 0


def test_shift_knows_the_side():
    """All below: D⁺ = 1, p = 1 / C(8, 4) = 1/70 for two samples of 4; D⁻ = 0, p = 1."""
    low, high = np.log([0.1, 0.2, 0.3, 0.4]), np.log([1.1, 1.2, 1.3, 1.4])
    found = shift(low, high)
    assert (found.short, found.beyond) == pytest.approx((1 / 70, 1.0))
    found = shift(high, low)
    assert (found.short, found.beyond) == pytest.approx((1.0, 1 / 70))
    assert shift(np.array([math.nan]), low) is None


def test_importance_grid():
    importance = {
        "model.layers.1.mlp.up_proj": np.array([3.0, 5.0]),
        "model.layers.0.self_attn.q_proj": np.array([1.0, 2.0, 3.0]),
        "model.layers.1.self_attn.q_proj": np.array([7.0]),
        "model.layers.2.mlp.experts.0.up_proj": np.array([1.0]),
        "model.layers.2.mlp.experts.1.up_proj": np.array([2.0]),
        "lm_head": np.array([9.0]),
    }
    layers, kinds, means = importance_by_layer(importance)
    assert layers == [0, 1, 2]
    assert kinds == ["self_attn.q_proj", "mlp.experts.up_proj", "mlp.up_proj"]
    nan = math.nan
    np.testing.assert_array_equal(means, [[2, nan, nan], [7, nan, 4], [nan, 1.5, nan]])


def test_importance_of_modules_outside_the_layers_has_no_map():
    assert importance_map({"lm_head": np.ones(3)}) is None
    assert importance_map({}) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.64234, "0.642"),
        (0.05, "0.0500"),
        (12.345, "12.3"),
        (-15.6587, "−15.7"),
        (2.1942743e-16, "2.19 × 10⁻¹⁶"),
        (9.999e-5, "1.00 × 10⁻⁴"),
        (-1.5e300, "−1.50 × 10³⁰⁰"),
        (999.9, "1000"),
        (0.0, "0"),
        (None, "–"),
        (math.nan, "not a number"),
        (-math.inf, "−∞"),
    ],
)
def test_numbers(value, shown):
    assert number(value) == shown


def test_each_measure_says_in_full_which_way_is_better():
    assert label("retain_perplexity")[1] == "lower is better"
    assert label("retain_probability")[1] == label("mmlu_acc")[1] == "higher is better"
    assert label("privacy_leakage")[1] == "nearer 0 is better"
    assert label("forget_perplexity")[1] == "as the reference"
    assert label("holdout_probability")[1] == label("holdout_perplexity")[1] == "as before"


def test_tables_begin_with_what_tells_most_and_end_with_what_is_not_known():
    names = {"forget_perplexity", "my_metric", "forget_rouge", "forget_probability", "forget_quality"}
    assert in_order(names) == [
        "forget_quality", "forget_probability", "forget_rouge", "forget_perplexity", "my_metric",
    ]  # fmt: skip


def test_the_glossary_shows_the_measures_that_appear():
    shown = [
        entry.term for entry in glossary(["retain_rouge", "forget_quality", "forget_rouge", "my_metric"])
    ]
    assert shown == ["Forget Quality", "ROUGE-L recall"]
    assert [entry.term for entry in glossary(["holdout_probability"])] == ["Probability of the answer"]


def test_units():
    assert [duration(s) for s in (0.84, 119.9, 143.0, 3600.0, 7384.0)] == [
        "0.8 s",
        "119.9 s",
        "2 min 23 s",
        "1 h 00 min",
        "2 h 03 min",
    ]
    assert [size(b) for b in (512, 987654, 9.6e6, 25e9, 3e12)] == [
        "512 B",
        "987.7 kB",
        "9.6 MB",
        "25.0 GB",
        "3.0 TB",
    ]
    assert count(2400000) == "2\u202f400\u202f000"
    assert interval(0.52, 0.58) == "0.520 to 0.580"
    assert interval(None, None) == ""


def test_trials_from_the_lowest_rate_to_the_highest(tmp_path: Path) -> None:
    folder = RunFolder(write_run(tmp_path / "run"))
    assert trial_rows(folder) == []
    lost = {
        "learning_rate": 0.002,
        "state": "lost",
        "left": True,
        "stopped": "the utility fell",
        "epochs": 2,
    }
    kept = {"learning_rate": 0.001, "state": "kept", "left": False, "stopped": None, "epochs": 5, "best_epoch": 4,
            "forget_score": -1.25, "utility": 0.6, "qualified": True}  # fmt: skip
    folder.update(tuning={"questions": 20, "trials": [lost, kept], "chosen": 2})
    low, high = trial_rows(folder)
    assert (low.number, low.learning_rate.shown, low.forget_score.shown, low.best_epoch, low.end, low.chosen) == (
        2, "0.001", "−1.25", "4", "kept", True
    )  # fmt: skip
    assert (high.number, high.utility.value, high.end, high.chosen) == (
        1,
        None,
        "lost (the utility fell)",
        False,
    )
    page = write_report(folder.path).read_text(encoding="utf-8")
    assert "20 forget questions by which the trials were compared" in page
    with pytest.raises(InputError, match="chooses trial 3, but holds 2"):
        folder.update(tuning={"questions": 20, "trials": [lost, kept], "chosen": 3})
