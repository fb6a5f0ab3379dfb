"""TOFU's metrics on numbers small enough to work out by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from expunge.benchmarks.tofu.metrics import forget_quality, log_truth_ratios, probabilities, tofu_metrics
from expunge.errors import InputError
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord


def likelihood(probability: float, tokens: int = 4) -> Likelihood:
    """An answer of `tokens` tokens with this length-normalised probability."""
    return Likelihood(-math.log(probability) * tokens, tokens)


def record(answer: float, paraphrased: float | None, wrong: list[float], generation=None) -> QuestionRecord:
    return QuestionRecord(
        index=0,
        answer=likelihood(answer),
        paraphrased=None if paraphrased is None else likelihood(paraphrased, tokens=7),
        perturbed=tuple(likelihood(p, tokens=3 + number) for number, p in enumerate(wrong)),
        generation=generation,
        truth="a b c d",
    )


def log(source: str = "log.json", **sets: list[QuestionRecord]) -> EvaluationLog:
    return EvaluationLog("tofu", "1", False, sets, source=source)


def forget_log(ratios: list[float], source: str = "log.json") -> EvaluationLog:
    return log(source, forget=[record(0.5, 0.5, [0.5 * ratio]) for ratio in ratios])


def test_truth_ratio_by_hand():
    # Wrong answers 0.1 and 0.4: geometric mean 0.2, arithmetic 0.25. Paraphrase 0.5, answer 0.8.
    one, bare = record(0.8, 0.5, [0.1, 0.4]), record(0.8, None, [0.1, 0.4])
    assert math.exp(log_truth_ratios([one])[0]) == pytest.approx(0.2 / 0.5)
    assert math.exp(log_truth_ratios([one], "arithmetic")[0]) == pytest.approx(0.25 / 0.5)
    assert math.exp(log_truth_ratios([bare])[0]) == pytest.approx(0.2 / 0.8)


def test_unknown_truth_ratio_names_the_nearest():
    with pytest.raises(InputError, match="Did you mean 'geometric'"):
        log_truth_ratios([record(0.5, None, [0.5])], "geometrical")


def test_truth_ratio_scores_of_the_sets():
    # R = 0.4 and R = 1.6: forget min(R, 1/R) = 0.4 and 0.625; elsewhere max(0, 1 − R) = 0.6 and 0.
    records = [record(0.5, 0.5, [0.2]), record(0.5, 0.5, [0.8])]
    found = tofu_metrics(log(forget=records, retain=records))
    assert found["forget_truth_ratio"].value == pytest.approx((0.4 + 0.625) / 2)
    assert found["retain_truth_ratio"].value == pytest.approx(0.3)
    assert found["retain_truth_ratio"].n == 2


def test_probability_is_normalised_over_the_choices_of_real_authors_and_world_facts():
    records = [record(0.5, None, [0.1, 0.2, 0.2])]
    assert probabilities("retain", records)[0] == pytest.approx(0.5)
    assert probabilities("real_authors", records)[0] == pytest.approx(0.5 / 1.0)
    assert probabilities("world_facts", [record(0.3, None, [0.6])])[0] == pytest.approx(1 / 3)


def test_model_utility_is_the_harmonic_mean():
    # Probability 0.5, truth ratio 1 − 0.25/0.5 = 0.5, ROUGE 0.5 (two of four words), normalised 0.5/0.75 = 2/3.
    one = record(0.5, None, [0.25], generation="a b x")
    found = tofu_metrics(log(retain=[one], real_authors=[one], world_facts=[one]))
    # Six: 0.5 four times and 2/3 twice: 6 / (4·2 + 2·1.5) = 6/11. Nine: seven times 0.5: 9 / (7·2 + 2·1.5) = 9/17.
    assert found["model_utility_teacher_forced"].value == pytest.approx(6 / 11)
    assert found["model_utility"].value == pytest.approx(9 / 17)
    assert found["model_utility"].n == 3


def test_the_interval_of_model_utility_is_that_of_a_loop_that_draws_questions():
    generator = np.random.default_rng(2)
    sets = {
        name: [
            record(p, None, [p * r], generation="a b c d" if p > 0.5 else "a x")
            for p, r in generator.uniform(0.1, 0.9, (n, 2))
        ]
        for name, n in (("retain", 40), ("real_authors", 25), ("world_facts", 30))
    }
    found = tofu_metrics(log(**sets))
    values = []
    for _ in range(300):
        drawn = {
            name: [rows[i] for i in generator.integers(0, len(rows), len(rows))]
            for name, rows in sets.items()
        }
        means = tofu_metrics(log(**drawn))
        parts = [
            means[f"{name}_{kind}"].value for name in sets for kind in ("probability", "truth_ratio", "rouge")
        ]
        values.append(9 / sum(1 / part for part in parts))
    assert found["model_utility"].n == 95
    expected = np.percentile(values, [2.5, 97.5])
    # Within a seventh of its width, about what 300 draws leave open.
    assert [found["model_utility"].low, found["model_utility"].high] == pytest.approx(
        expected, abs=(expected[1] - expected[0]) / 7
    )


def test_what_was_not_measured_has_no_metric():
    one = record(0.5, None, [0.25])
    found = tofu_metrics(log(retain=[one], real_authors=[one], world_facts=[one]))
    assert "model_utility_teacher_forced" in found
    assert not {"model_utility", "retain_rouge", "forget_quality"} & found.keys()
    assert not any("utility" in name for name in tofu_metrics(log(retain=[one])))
    partly = [record(0.5, None, [0.25], generation="a b"), one]
    assert "retain_rouge" not in tofu_metrics(log(retain=partly))


def test_forget_quality_by_hand():
    # Two samples of 4 that do not overlap: KS = 1, p = 2 / C(8, 4).
    apart = forget_quality(forget_log([0.1, 0.2, 0.3, 0.4]), forget_log([1.1, 1.2, 1.3, 1.4]))
    assert apart["forget_quality_ks"].value == 1.0
    assert apart["forget_quality"].value == pytest.approx(2 / 70)
    assert apart["forget_quality_log10"].value == pytest.approx(math.log10(2 / 70))
    same = forget_quality(forget_log([0.1, 0.2, 0.3]), forget_log([0.3, 0.1, 0.2]))
    assert [same[f"forget_quality{end}"].value for end in ("", "_log10", "_ks")] == [1.0, 0.0, 0.0]


def test_forget_quality_needs_the_same_number_of_questions():
    with pytest.raises(InputError) as caught:
        forget_quality(forget_log([0.1] * 3, "ours.json"), forget_log([0.1] * 4, "theirs.json"))
    assert "ours.json holds 3" in str(caught.value)
    assert "theirs.json 4" in str(caught.value)


def test_a_diverged_model_gives_figures_and_not_overflows():
    # An average loss of 2000 nats: exp(±2000) is no float, but the order of R is known.
    lost = [Likelihood(2000.0 + number, 1) for number in range(4)]
    records = [
        QuestionRecord(number, answer, answer, (Likelihood(1.0, 1),)) for number, answer in enumerate(lost)
    ]
    found = tofu_metrics(log(forget=records, real_authors=records), forget_log([0.1, 0.2, 0.3, 0.4]))
    assert found["forget_truth_ratio"].value == 0.0
    assert found["real_authors_truth_ratio"].value == 0.0
    assert found["real_authors_probability"].value == 0.0
    assert found["forget_quality_ks"].value == 1.0
    spoilt_answer = Likelihood(math.nan, 1)
    nan = [QuestionRecord(0, spoilt_answer, spoilt_answer, (Likelihood(1.0, 1),))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spoilt = tofu_metrics(log(retain=nan * 2, real_authors=records, world_facts=records))
    utility = spoilt["model_utility_teacher_forced"]
    assert math.isnan(utility.value)
    assert (utility.low, utility.high) == (None, None)
    assert math.isnan(tofu_metrics(log(forget=nan), forget_log([0.1]))["forget_quality_log10"].value)


def test_forget_quality_is_of_one_truth_ratio():
    """One log with paraphrased answers and one without them: R would rest on two different answers."""
    bare = log("theirs.json", forget=[record(0.5, None, [0.05]), record(0.5, None, [0.1])])
    with pytest.raises(InputError) as caught:
        forget_quality(forget_log([0.1, 0.2], "ours.json"), bare)
    assert "of the two logs theirs.json alone holds no paraphrased answers" in str(caught.value)
    assert forget_quality(bare, bare)["forget_quality"].value == 1.0


def forget_record(loss: float, tokens: int, correct: int | None, **more) -> QuestionRecord:
    wrong = (Likelihood(4.0, 2),)
    return QuestionRecord(0, Likelihood(loss, tokens), Likelihood(3.0, 2), wrong, correct=correct, **more)


def test_the_general_metrics_are_those_of_the_forget_set():
    first = forget_record(1.0, 4, 3, strength=0.25, generation="a b a b a b", truth="a b c d")
    second = forget_record(6.0, 2, 0, strength=0.0, generation="c d e f g", truth="c")
    found = tofu_metrics(log(forget=[first, second], retain=[first, second]))
    assert found["forget_exact_memorization"].value == pytest.approx((3 / 4 + 0) / 2)
    assert found["forget_extraction_strength"].value == pytest.approx(0.125)
    assert found["forget_perplexity"].value == pytest.approx(math.exp((1.0 + 6.0) / (4 + 2)))
    assert found["forget_repetition"].value == pytest.approx((1 - 2 / 3 + 0) / 2)  # abab baba abab
    assert found["forget_ngram_entropy"].n == 2
    kinds = ("exact_memorization", "extraction_strength", "perplexity", "repetition", "ngram_entropy")
    assert not {f"retain_{kind}" for kind in kinds} & found.keys()
    assert found["forget_probability"].value == pytest.approx((math.exp(-1 / 4) + math.exp(-3)) / 2)
    assert found["forget_rouge"].value == pytest.approx((2 / 4 + 1) / 2)


def test_what_a_log_does_not_know_of_the_forget_set_has_no_general_metric():
    found = tofu_metrics(log(forget=[forget_record(2.0, 1, None), forget_record(3.0, 1, None)]))
    kinds = ("exact_memorization", "extraction_strength", "perplexity", "repetition", "ngram_entropy")
    assert not {f"forget_{kind}" for kind in kinds} & found.keys()  # nor perplexity, as one token is no count
    half = tofu_metrics(log(forget=[forget_record(2.0, 4, 3), forget_record(3.0, 4, None)]))
    assert (half["forget_exact_memorization"].value, half["forget_exact_memorization"].n) == (0.75, 1)
    assert "forget_perplexity" in half


def attacked_log(
    forget: list[float], holdout: list[float], losses: bool = True, source="log.json"
) -> EvaluationLog:
    """Scores of Min-K and of the comparison with a reference, and average losses, of both sides."""
    sides = {
        "forget": [
            forget_record(-score, 1, None, scores={"min_k": score, "reference": score}) for score in forget
        ],
        "holdout": [
            QuestionRecord(
                index,
                Likelihood(-score, 1) if losses else Likelihood(0.0, 0),
                scores={"min_k": score, "reference": score},
            )
            for index, score in enumerate(holdout)
        ],
    }
    return log(source, **sides)


def test_membership_inference_against_a_holdout():
    remembered, unseen = attacked_log([-1.0, -2.0], [-3.0, -4.0]), attacked_log([-5.0, -2.0], [-3.0, -4.0])
    assert not any(name.startswith("holdout") for name in tofu_metrics(remembered))
    alone = tofu_metrics(remembered)
    assert alone["membership_inference_min_k"].value == 1.0
    assert alone["membership_inference_reference"].value == 1.0  # of the scores in the log
    assert alone["privacy_leakage"].value == pytest.approx(-100.0)
    assert alone["forget_probability"].n == 2
    # Unseen: −2 is above both, −5 below both, AUC 0.5. The losses differ by 4 and 0 against 0 and 0: AUC 0.75.
    beside = tofu_metrics(remembered, unseen)
    assert beside["privacy_leakage"].value == pytest.approx(-100.0)
    assert beside["membership_inference_reference"].value == pytest.approx(0.75)
    assert tofu_metrics(unseen, remembered)["membership_inference_min_k"].value == 0.5


def test_membership_inference_needs_scores_of_both_models():
    ours = attacked_log([-1.0, -2.0], [-3.0, -4.0])
    without = log("theirs.json", forget=ours.sets["forget"])
    found = tofu_metrics(ours, without)
    assert found["membership_inference_min_k"].value == 1.0
    assert "privacy_leakage" not in found  # it would be beside an AUC of 0.5, and not beside the reference
    assert not any("membership" in name for name in tofu_metrics(without, ours))
    # Where the holdout's losses are not known, the scores that the log holds are taken.
    unknown = attacked_log([-1.0, -2.0], [-3.0, -1.5], losses=False)
    assert tofu_metrics(unknown, ours)["membership_inference_reference"].value == pytest.approx(0.75)
