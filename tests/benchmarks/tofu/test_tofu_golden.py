"""The metrics on logs that others published, against the figures that they published with them.

benchmarks.md states the figures; ROUGE and truth ratios are in the logs, row by row.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from expunge.benchmarks.tofu.logs import AUTHORS_PARTS, read_tofu_log
from expunge.benchmarks.tofu.metrics import log_truth_ratios
from expunge.benchmarks.tofu.open_unlearning import PREFIXES, to_open_unlearning
from expunge.benchmarks.tofu.score import score_tofu
from expunge.errors import InputError
from expunge.evaluation.log import QuestionRecord
from expunge.evaluation.rouge import generated_pairs, rouge_scores

pytestmark = pytest.mark.shared

AUTHORS = ("phi_full.json", "phi_retain90.json")
OPEN_UNLEARNING = (
    "open_unlearning/llama32_3b_full_forget10.json",
    "open_unlearning/llama32_3b_retain90.json",
)
# Figures that were published to six digits or more.
SIX_DIGITS = 1e-6


@pytest.fixture
def logs(shared: Path) -> Path:
    return shared / "data" / "tofu_logs"


def rouge_columns(records: list[QuestionRecord]) -> np.ndarray:
    scores = rouge_scores(generated_pairs(records))
    return np.array([(score.rouge1_recall, score.rougeL_recall, score.rougeL_f1) for score in scores])


def test_phi_forget_quality_and_model_utility(logs):
    full = score_tofu(logs / AUTHORS[0], logs / AUTHORS[1])
    assert full["forget_quality"].value == pytest.approx(2.1942743e-16, rel=1e-7)
    assert full["forget_quality_log10"].value == pytest.approx(-15.6587, abs=5e-5)
    assert full["forget_quality_ks"].value == pytest.approx(0.346667, rel=SIX_DIGITS)
    assert full["forget_quality"].n == 300
    assert full["model_utility"].value == pytest.approx(0.522074, rel=SIX_DIGITS)
    retain = score_tofu(logs / AUTHORS[1])
    assert retain["model_utility"].value == pytest.approx(0.531991, rel=SIX_DIGITS)
    assert "forget_quality" not in retain


def test_open_unlearning_forget_quality_and_model_utility(logs):
    full = score_tofu(logs / OPEN_UNLEARNING[0], logs / OPEN_UNLEARNING[1])
    assert full["forget_quality"].value == pytest.approx(3.597702e-27, rel=SIX_DIGITS)
    assert full["model_utility"].value == pytest.approx(0.666079883, rel=SIX_DIGITS)
    assert full["forget_truth_ratio"].value == pytest.approx(0.471923, rel=SIX_DIGITS)
    retain = score_tofu(logs / OPEN_UNLEARNING[1])
    assert retain["model_utility"].value == pytest.approx(0.649808520, rel=SIX_DIGITS)


@pytest.mark.parametrize("name", AUTHORS)
def test_every_row_of_the_authors_logs(logs, name):
    content, log = json.loads((logs / name).read_text()), read_tofu_log(logs / name)
    for part, key in AUTHORS_PARTS.items():
        records, columns = log.sets[part], content[key]
        published = [list(columns[column].values()) for column in ("rouge1_recall", "rougeL_recall")]
        np.testing.assert_allclose(rouge_columns(records)[:, :2], np.transpose(published), atol=1e-12)
        ratios = np.exp(log_truth_ratios(records))
        np.testing.assert_allclose(ratios, list(columns["truth_ratio"].values()), rtol=1e-5)


@pytest.mark.parametrize("name", OPEN_UNLEARNING)
def test_every_row_of_the_open_unlearning_logs(logs, name):
    content, log = json.loads((logs / name).read_text()), read_tofu_log(logs / name)
    for part, prefix in PREFIXES.items():
        rows = content[f"{prefix}_Q_A_ROUGE"]["value_by_index"].values()
        published = [(row["rouge1_recall"], row["rougeL_recall"], row["rougeL_f1"]) for row in rows]
        np.testing.assert_allclose(rouge_columns(log.sets[part]), published, atol=1e-12)


def test_aggregates_of_open_unlearning(logs):
    content = json.loads((logs / OPEN_UNLEARNING[0]).read_text())
    found = score_tofu(logs / OPEN_UNLEARNING[0], logs / OPEN_UNLEARNING[1])
    keys = {
        "forget_probability": "forget_Q_A_Prob",
        "retain_probability": "retain_Q_A_Prob",
        "real_authors_probability": "ra_Q_A_Prob_normalised",
        "world_facts_probability": "wf_Q_A_Prob_normalised",
        "forget_rouge": "forget_Q_A_ROUGE",
        "world_facts_rouge": "wf_Q_A_ROUGE",
        "forget_truth_ratio": "forget_truth_ratio",
        "retain_truth_ratio": "retain_Truth_Ratio",
        "real_authors_truth_ratio": "ra_Truth_Ratio",
        "forget_exact_memorization": "exact_memorization",
        "forget_extraction_strength": "extraction_strength",
        "model_utility": "model_utility",
        "forget_quality": "forget_quality",
    }
    for ours, theirs in keys.items():
        assert found[ours].value == pytest.approx(content[theirs]["agg_value"], rel=SIX_DIGITS), ours


@pytest.mark.parametrize("name", [AUTHORS[0], OPEN_UNLEARNING[0]])
def test_export_to_open_unlearning_keeps_every_metric(logs, tmp_path, name):
    reference = logs / (AUTHORS[1] if name in AUTHORS else OPEN_UNLEARNING[1])
    file = tmp_path / "TOFU_EVAL.json"
    file.write_text(json.dumps(to_open_unlearning(read_tofu_log(logs / name))))
    before, after = score_tofu(logs / name, reference), score_tofu(file, reference)
    # The format counts no tokens, by which perplexity weighs the answers.
    lost = {"forget_perplexity"} if name in AUTHORS else set()
    assert before.keys() - after.keys() == lost
    assert after.keys() <= before.keys()
    for key, metric in before.items():
        if key in lost:
            continue
        assert (after[key].value, after[key].n) == (pytest.approx(metric.value, rel=1e-9), metric.n), key


def test_export_has_the_keys_and_values_of_the_original(logs):
    content = json.loads((logs / OPEN_UNLEARNING[0]).read_text())
    log = read_tofu_log(logs / OPEN_UNLEARNING[0])
    assert content.keys() - to_open_unlearning(log).keys() == {"privleak"}  # it needs a reference
    log.metrics = score_tofu(logs / OPEN_UNLEARNING[0], logs / OPEN_UNLEARNING[1])
    exported = to_open_unlearning(log)
    assert exported.keys() == content.keys()
    for key in exported:
        assert exported[key]["agg_value"] == pytest.approx(content[key]["agg_value"], rel=SIX_DIGITS), key
    attacks = {key for key in content if key.startswith("mia_")}
    assert len(attacks) == 6
    for key in attacks:
        assert exported[key]["auc"] == pytest.approx(content[key]["auc"], rel=SIX_DIGITS)
        for side in ("forget", "holdout"):
            assert exported[key][side]["value_by_index"] == content[key][side]["value_by_index"], (key, side)
    for key in ("exact_memorization", "extraction_strength"):
        assert exported[key]["value_by_index"] == content[key]["value_by_index"]
    ours = exported["retain_Q_A_PERT_Prob"]["value_by_index"]["7"]
    theirs = content["retain_Q_A_PERT_Prob"]["value_by_index"]["7"]
    assert ours["prob"] == pytest.approx(theirs["prob"], rel=1e-5)
    assert ours["avg_loss"] == theirs["avg_loss"]


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("key", ["forget_Q_A_PARA_Prob", "retain_Q_A_PARA_Prob"])
def test_without_paraphrased_answers_there_is_no_forget_quality(logs, tmp_path, side, key):
    """Of the answers themselves R would be another figure: log₁₀ FQ −218.4 in place of −26.44."""
    files = [logs / name for name in OPEN_UNLEARNING]
    content = json.loads(files[side].read_text())
    del content[key]
    files[side] = tmp_path / "TOFU_EVAL.json"
    files[side].write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"TOFU_EVAL\.json: {key}: it holds no value_by_index\."):
        score_tofu(*files)


def test_logs_of_different_size_are_not_compared(logs):
    with pytest.raises(InputError) as caught:
        score_tofu(logs / AUTHORS[0], logs / OPEN_UNLEARNING[1])
    sentence = str(caught.value)
    assert OPEN_UNLEARNING[1] in sentence
    assert "300" in sentence
    assert "400" in sentence
