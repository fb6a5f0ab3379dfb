from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import bootstrap

from expunge.evaluation.metric import Metric, mean_of_means, mean_with_interval


def test_interval_agrees_with_scipy_and_with_theory():
    values = np.random.default_rng(3).normal(5.0, 2.0, size=400)
    metric = mean_with_interval(values)
    assert metric.value == pytest.approx(values.mean())
    assert metric.n == 400
    slow = bootstrap((values,), np.mean, method="percentile", n_resamples=2000).confidence_interval
    assert (metric.low, metric.high) == pytest.approx((slow.low, slow.high), abs=0.03)
    # ± 1.96 σ/√n = ± 0.196
    assert metric.high - metric.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)


def test_interval_has_no_width_without_variation_and_is_reproducible():
    assert mean_with_interval([0.5, 0.5, 0.5]) == Metric(0.5, 3, 0.5, 0.5)
    values = [0.1, 0.9, 0.4, 0.7]
    assert mean_with_interval(values, seed=1) == mean_with_interval(values, seed=1)


def test_the_mean_of_means_counts_groups_alike_and_resamples_each_by_itself():
    generator = np.random.default_rng(4)
    groups = [generator.normal(0.0, 1.0, 400), generator.normal(9.0, 3.0, 100)]
    found = mean_of_means(groups)
    assert (found.value, found.n) == (pytest.approx((groups[0].mean() + groups[1].mean()) / 2), 500)
    error = np.sqrt(sum(group.var() / len(group) for group in groups)) / 2
    assert [found.low, found.high] == pytest.approx(
        [found.value - 1.96 * error, found.value + 1.96 * error], abs=0.3 * error
    )


def test_bounded_memory_changes_nothing(monkeypatch):
    values = np.linspace(0.0, 1.0, 51) ** 2
    whole = mean_with_interval(values)
    monkeypatch.setattr("expunge.evaluation.metric.DRAWS_AT_ONCE", 700)
    parts = mean_with_interval(values)
    assert (parts.low, parts.high) == pytest.approx((whole.low, whole.high), abs=0.02)


def test_one_value_has_no_interval():
    assert mean_with_interval([0.93]) == Metric(0.93, 1)


def test_no_values_are_refused():
    with pytest.raises(ValueError, match="no values"):
        mean_with_interval([])


@pytest.mark.parametrize("metric", [Metric(0.25, 40), Metric(0.25, 40, 0.2, 0.3)])
def test_json_round_trip(metric):
    assert set(metric.to_json()) == {"value", "n", "low", "high"}
    assert Metric.from_json(metric.to_json()) == metric
