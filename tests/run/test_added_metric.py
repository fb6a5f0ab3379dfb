"""A metric of a user's own: declared in one place, it is measured, shown, explained and ends the training."""

from __future__ import annotations

import copy
import html
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

import expunge
from expunge.evaluation import measures
from expunge.evaluation.log import Likelihood, QuestionRecord
from expunge.evaluation.measures import SetMeasure, declare
from expunge.evaluation.metric import Metric, mean_with_interval
from expunge.evaluation.set_metrics import with_added
from expunge.storage import read_json, read_json_lines

#: Of one token, of which `bits` says nothing.
SHORT = QuestionRecord(0, Likelihood(2.0, 1))


def bits(records: Sequence[QuestionRecord]) -> Metric | None:
    """Of answers of two tokens and more."""
    known = [record.answer.average_loss / math.log(2) for record in records if record.answer.tokens > 1]
    return mean_with_interval(known) if known else None


@pytest.fixture
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measures, "measures", copy.deepcopy(measures.measures))
    declare(
        SetMeasure(
            "surprise", label="surprise a token", unit="bits", better="lower is better", term="Surprise",
            words="How many bits a token of the answer costs the model.", role="memory", forgetting="rises",
            function=bits,
        )
    )  # fmt: skip


@pytest.mark.usefixtures("_added")
def test_a_metric_of_ones_own_from_the_log_to_the_report(recipe: dict, tmp_path: Path) -> None:
    recipe["adapter"] = {"initialization": "default", "rank": 2, "alpha": 16}
    run = expunge.unlearn(
        recipe,
        ["evaluation.generate=never", "stopping.thresholds={forget_surprise: 0.01}"],
        output=tmp_path / "run",
    )
    for stage in ("before", "after"):
        log = read_json(run.evaluation(stage))
        for name in ("forget", "retain"):
            records = [QuestionRecord.from_json(row) for row in log["sets"][name]]
            assert run.metrics[stage][f"{name}_surprise"] == bits(records).to_json()
        assert [name for name in log["metrics"] if name.endswith("_surprise")] == [
            "forget_surprise", "retain_surprise",
        ]  # fmt: skip
    (epoch,) = read_json_lines(
        run.path / "metrics.jsonl"
    )  # it rises, so 0.01 is reached after the first of two
    assert epoch["reached"]
    page = html.unescape(run.report.read_text())
    assert "Forget set: surprise a token (bits)" in page
    assert "<dt>Surprise</dt>" in page
    assert "How many bits a token of the answer costs the model." in page
    assert page.index("Retain set: perplexity") < page.index("Retain set: surprise a token")


@pytest.mark.usefixtures("_added")
def test_a_benchmarks_own_figure_stands_and_a_set_without_records_has_none() -> None:
    record = QuestionRecord(0, Likelihood(2.0, 2))
    own = {"forget_surprise": Metric(9.0, 1)}
    found = with_added(own, {"forget": [record], "retain": [record], "empty": [], "short": [SHORT]})
    assert found == {**own, "retain_surprise": bits([record])}
    assert found["retain_surprise"].value == pytest.approx(1 / math.log(2))
