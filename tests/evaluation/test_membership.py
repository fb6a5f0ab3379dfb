"""The attacks against slow oracles, the AUC against scikit-learn, PrivLeak against the published figure."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from test_answer_losses import CountsUp, random_examples

from expunge.benchmarks.tofu.open_unlearning import ATTACKS
from expunge.cli import main
from expunge.data.encoding import Example
from expunge.errors import InputError
from expunge.evaluation.likelihood import TokenStatistics, answer_losses
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.evaluation.membership import (
    auc,
    lowest_mean,
    membership_metrics,
    membership_scores,
    privacy_leakage,
)
from expunge.evaluation.metric import Metric
from expunge.models.answers import IGNORED
from tiny_models import SHAPES, random_model
from token_loops import token_by_token


@pytest.mark.parametrize("tokens_per_batch", [1, 40, 100_000])
def test_statistics_equal_a_loop_over_tokens(tiny_llama, tokens_per_batch):
    examples = random_examples(9, tiny_llama.config.vocab_size)
    found = answer_losses(tiny_llama, examples, 0, tokens_per_batch, token_statistics=True)
    assert found == answer_losses(tiny_llama, examples, 0, tokens_per_batch)
    assert found[-1].statistics is None  # it has no label
    for loss, example in zip(found[:-1], examples[:-1], strict=True):
        plain, standardised = token_by_token(tiny_llama, example)
        np.testing.assert_allclose(loss.statistics.log_probability, plain, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(loss.statistics.standardised, standardised, rtol=1e-3, atol=1e-4)


def test_chunks_of_the_vocabulary_change_nothing(tiny_llama, monkeypatch):
    examples = random_examples(5, tiny_llama.config.vocab_size)
    whole = answer_losses(tiny_llama, examples, 0, token_statistics=True)
    monkeypatch.setattr("expunge.models.token_statistics.NUMBERS_IN_FP32", {"cpu": 700})
    monkeypatch.setattr("expunge.evaluation.likelihood.DISTRIBUTIONS_IN_FP32", 3)
    chunked = answer_losses(tiny_llama, examples, 0, token_statistics=True)
    for one, other in zip(whole[:-1], chunked[:-1], strict=True):
        np.testing.assert_array_equal(one.statistics.log_probability, other.statistics.log_probability)
        np.testing.assert_array_equal(one.statistics.standardised, other.statistics.standardised)


@pytest.mark.parametrize("shape", SHAPES)
def test_bf16_logits_are_standardised_as_in_fp64(shape):
    model = random_model(shape).bfloat16()
    examples = [example for example in random_examples(6, 97) if example.label_count]
    found = answer_losses(model, examples, 0, tokens_per_batch=1, token_statistics=True)
    assert next(model.parameters()).dtype is torch.bfloat16
    for loss, example in zip(found, examples, strict=True):
        plain, standardised = token_by_token(model, example)
        np.testing.assert_allclose(loss.statistics.log_probability, plain, rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(loss.statistics.standardised, standardised, rtol=1e-4, atol=1e-5)


class Certain(CountsUp):
    """Logits of `scale` for the next number, and −∞ for number 9."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale.data.fill_(scale)

    def forward(self, **batch):
        output = super().forward(**batch)
        output.logits[:, 9] = -math.inf
        return output


@pytest.mark.parametrize("scale", [2.0, 6.0, 12.0])
def test_standardised_where_the_model_is_nearly_certain(scale):
    """Of 9 numbers one has p = 1/(1 + 8 e^−scale); the mean of squares less the squared mean would fail at 12."""
    example = Example([1, 2, 5], [IGNORED, 2, 5])
    (found,) = answer_losses(Certain(scale), [example], 0, token_statistics=True)
    p, q = 1 / (1 + 8 * math.exp(-scale)), math.exp(-scale) / (1 + 8 * math.exp(-scale))
    mean = p * math.log(p) + 8 * q * math.log(q)
    deviation = math.sqrt(p * (math.log(p) - mean) ** 2 + 8 * q * (math.log(q) - mean) ** 2)
    expected = [(math.log(x) - mean) / deviation for x in (p, q)]
    np.testing.assert_allclose(found.statistics.standardised, expected, rtol=1e-3)


def test_where_the_model_is_certain_nothing_is_divided_by_zero():
    (found,) = answer_losses(Certain(200.0), [Example([1, 2], [IGNORED, 2])], 0, token_statistics=True)
    np.testing.assert_allclose(found.statistics.standardised, [0.0], atol=1e-12)


def test_scores_by_hand():
    log_p = np.array([-0.5, -4.0, -1.0, -2.0, -0.1, -3.0, -0.4], dtype=np.float32)  # 40 % of 7 are two
    standardised = np.array([1.0, -2.0, 0.5, -1.0, 2.0, -0.5, 0.0], dtype=np.float32)
    text = "a text of some length, a text of some length"
    scores = membership_scores(TokenStatistics(log_p, standardised), text)
    assert scores == pytest.approx(
        {
            "loss": -11 / 7,
            "zlib": -11 / 7 / len(zlib.compress(text.encode())),
            "min_k": -3.5,
            "min_k_plus_plus": -1.5,
        }
    )
    assert lowest_mean(np.array([-1.0, -3.0])) == -3.0  # 40 % of 2 are none: one is looked at


@pytest.mark.parametrize("decimals", [0, 1, 8])
def test_auc_equals_scikit_learn(decimals):
    """Rounded to few decimals the scores have ties, which count half."""
    roc_auc_score = pytest.importorskip("sklearn.metrics").roc_auc_score
    generator = np.random.default_rng(decimals)
    for n, m, shift in [(1, 1, 0.0), (7, 3, 0.5), (40, 60, -1.0), (200, 100, 2.0)]:
        members = np.round(generator.normal(shift, 1, n), decimals)
        others = np.round(generator.normal(0, 1, m), decimals)
        expected = roc_auc_score([1] * n + [0] * m, [*members, *others])
        found = auc(members, others)
        assert (found.value, found.n) == (pytest.approx(expected, abs=1e-12), n + m)
        if m > 1:
            assert found.low <= found.value <= found.high


def test_the_interval_of_an_auc_is_that_of_a_bootstrap_loop():
    generator = np.random.default_rng(5)
    members, others = generator.normal(0.7, 1, 60), generator.normal(0, 1, 40)
    areas = [
        np.mean(generator.choice(members, 60)[:, None] > generator.choice(others, 40)[None, :])
        for _ in range(2000)
    ]
    found = auc(members, others)
    assert [found.low, found.high] == pytest.approx(np.percentile(areas, [2.5, 97.5]), abs=0.02)
    assert auc([1.0], [0.0]) == Metric(1.0, 2)  # of one observation each there is none


def test_privacy_leakage_by_hand():
    def area(value: float) -> Metric:
        return Metric(value, 200, value - 0.1, value + 0.1)

    assert privacy_leakage(Metric(1.0, 200), None) == Metric(-100.0, 200)
    assert privacy_leakage(Metric(0.0, 200), None) == Metric(100.0, 200)
    found = privacy_leakage(area(0.6), area(0.2))  # s = 0.4, that of the reference 0.8
    assert found.value == pytest.approx(-50.0)
    assert (found.low, found.high) == (pytest.approx(-62.5), pytest.approx(-37.5))
    assert privacy_leakage(Metric(0.3, 4), Metric(1.0, 4)) is None


def membership_log(forget: Sequence[float], holdout: Sequence[float], losses: float = 1.0) -> EvaluationLog:
    """A log whose Min-K scores are those given, and whose average losses are `losses` less the scores."""

    def records(scores: Sequence[float]) -> list[QuestionRecord]:
        return [
            QuestionRecord(
                index, Likelihood(2 * (losses - score), 2), scores={"min_k": score, "loss": score - losses}
            )
            for index, score in enumerate(scores)
        ]

    return EvaluationLog("memorization", "1", False, {"forget": records(forget), "holdout": records(holdout)})


UNSEEN = membership_log([-3.0, -2.0, -2.5, -4.0], [-3.1, -2.1, -2.4, -3.9])


@pytest.mark.parametrize(
    ("forget", "leakage"),
    [
        ([-0.1, -0.2, -0.1, -0.3], -100.0),  # remembered: every member stands out
        ([-3.0, -2.0, -2.5, -4.0], 0.0),  # as by a model that never saw it
        ([-9.0, -8.0, -9.5, -7.0], 100.0),  # avoided: the members stand out at the other end
    ],
)
def test_the_sign_of_privacy_leakage(forget, leakage):
    log = membership_log(forget, [-3.1, -2.1, -2.4, -3.9])
    found = membership_metrics(log, UNSEEN, "forget", "holdout")
    assert membership_metrics(UNSEEN, None, "forget", "holdout")["membership_inference_min_k"].value == 0.5
    assert found["privacy_leakage"].value == pytest.approx(leakage)


def test_the_reference_attack_looks_at_the_difference_of_the_losses():
    """The two forget texts are as likely as the others, but the reference finds them much harder."""
    log = membership_log([-1.0, -2.0], [-1.0, -2.0])
    reference = membership_log([-5.0, -6.0], [-1.1, -2.1])
    found = membership_metrics(log, reference, "forget", "holdout")
    assert found["membership_inference_loss"].value == 0.5
    assert found["membership_inference_reference"].value == 1.0
    assert "membership_inference_reference" not in membership_metrics(log, None, "forget", "holdout")


def test_a_reference_of_other_samples_is_refused():
    log = membership_log([-1.0, -2.0], [-1.0, -2.0])
    with pytest.raises(InputError, match=r"scores of 2 and 2 samples .* of 2 and 3"):
        membership_metrics(log, membership_log([-1.0, -2.0], [-1.0, -2.0, -3.0]), "forget", "holdout")
    without = EvaluationLog("memorization", "1", False, {"forget": log.sets["forget"], "retain": []})
    with pytest.raises(InputError, match="of 2 and 0"):
        membership_metrics(log, without, "forget", "holdout")


@pytest.fixture(scope="module")
def published_files(shared: Path) -> dict[str, Path]:
    folder = shared / "data" / "tofu_logs" / "open_unlearning"
    names = {"full": "llama32_3b_full_forget10.json", "retain90": "llama32_3b_retain90.json"}
    return {name: folder / file for name, file in names.items()}


@pytest.fixture(scope="module")
def published(published_files: dict[str, Path]) -> dict[str, dict]:
    return {name: json.loads(file.read_text()) for name, file in published_files.items()}


@pytest.mark.shared
def test_published_areas_and_privacy_leakage(published, published_files, capsys, monkeypatch):
    """Every MIA figure of open-unlearning's logs from its 800 scores, and PrivLeak −99.7256, by the command."""

    def scored(*arguments: Path | str) -> dict[str, dict]:
        monkeypatch.setattr("sys.argv", ["expunge", "score", "tofu", *map(str, arguments), "--json"])
        main()
        return json.loads(capsys.readouterr().out)["metrics"]

    full, retain = published_files["full"], published_files["retain90"]
    for name, file in published_files.items():
        attacks = {metric: attack for metric, attack in ATTACKS.items() if metric in published[name]}
        assert attacks.keys() == {metric for metric in published[name] if metric.startswith("mia_")}
        assert len(attacks) >= 5
        found = scored(file)
        for metric, attack in attacks.items():
            area = found[f"membership_inference_{attack}"]
            assert (area["value"], area["n"]) == (
                pytest.approx(published[name][metric]["auc"], abs=1e-12),
                800,
            )
    leakage = scored(full, "--reference", retain)["privacy_leakage"]["value"]
    assert leakage == pytest.approx(-99.7256, abs=1e-4)
    assert leakage == pytest.approx(published["full"]["privleak"]["agg_value"], abs=1e-6)
    alone = published["retain90"]["privleak"]["agg_value"]  # theirs without a reference
    assert scored(retain)["privacy_leakage"]["value"] == pytest.approx(alone, abs=1e-6)


@pytest.mark.shared
def test_published_zlib_scores(published):
    """All 400 of the forget set, from the average losses and the answers that the log holds."""
    log = published["full"]
    for index, row in log["mia_zlib"]["forget"]["value_by_index"].items():
        loss = log["mia_loss"]["forget"]["value_by_index"][index]["score"]
        answer = log["forget_Q_A_ROUGE"]["value_by_index"][index]["ground_truth"]
        scores = membership_scores(TokenStatistics(np.array([-loss]), np.array([0.0])), answer)
        assert -scores["zlib"] == pytest.approx(row["score"], rel=1e-9)
