"""Which way a threshold is reached, and on which metrics none may stand."""

from __future__ import annotations

from pathlib import Path

import pytest

import expunge.benchmarks.measures  # noqa: F401 — declares the benchmarks' metrics
from expunge.errors import InputError
from expunge.evaluation.metric import Metric
from expunge.storage import write_json
from expunge.training.settings import Stopping
from expunge.training.stopping import all_reached, read_thresholds


@pytest.mark.parametrize(
    ("name", "rises"),
    [
        ("forget_probability", False),
        ("forget_perplexity", True),
        ("forget_truth_ratio", True),
        ("forget_quality_log10", True),
        ("forget_quality_ks", False),
        ("privacy_leakage", True),
        ("wmdp_bio_acc", False),
        ("a_strangers_metric", False),
    ],
)
def test_a_threshold_is_reached_from_the_side_that_the_metric_comes_from(name: str, rises: bool) -> None:
    below, at, above = (all_reached({name: 0.5}, {name: Metric(value, 8)}) for value in (0.4, 0.5, 0.6))
    assert (below, at, above) == (not rises, True, rises)


@pytest.mark.parametrize(
    "name",
    ["retain_probability", "holdout_perplexity", "model_utility", "mmlu_acc", "forget_repetition",
     "forget_ngram_entropy", "retain_knowledge_recall"],
)  # fmt: skip
def test_no_threshold_stands_on_what_does_not_tell_of_forgetting(name: str, tmp_path: Path) -> None:
    write_json(tmp_path / "file.json", {"thresholds": {name: 0.5}})
    for given in ({name: 0.5}, str(tmp_path / "file.json")):
        with pytest.raises(InputError) as caught:
            read_thresholds(Stopping(rule="thresholds", thresholds=given))
        (problem,) = caught.value.problems
        assert problem.where == "stopping.thresholds"
        assert problem.reason == (
            f"'{name}' does not tell how far the forget set is forgotten, so training cannot end by it."
        )


def test_thresholds_of_the_forget_set_are_taken_as_they_are() -> None:
    given = {"forget_rouge": 0.3, "membership_inference_loss": 0.5, "a_strangers_metric": 1.0}
    assert read_thresholds(Stopping(thresholds=given)) == given


def test_the_tdec_rule_needs_what_is_calibrated() -> None:
    with pytest.raises(
        InputError, match="needs forget_extraction_likelihood and forget_memorization_accuracy"
    ):
        read_thresholds(Stopping(rule="tdec", thresholds={"forget_probability": 0.1}))
