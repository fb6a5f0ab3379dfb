"""One test a case of the verdict: what is concluded, and the sentence that a reader sees."""

from __future__ import annotations

import dataclasses

import pytest

from expunge.benchmarks.tofu.metrics import Shift
from expunge.evaluation.metric import Metric
from expunge.folder.state import AttackOutcome
from expunge.report.attacks import how_many, lines, not_made, self_check
from expunge.report.evidence import Evidence, Finding, Forgetting, Tone
from expunge.report.known import clearly_unknown
from expunge.report.verdict import judge, limits
from expunge.training.tuning import NOTHING_LEFT
from synthetic_attacks import attacks, variant


def figures(
    probability: float, p: float | None = None, ks: float = 0.0, utility: float = 0.64, **more: Metric
):
    """Metrics of one stage, N = 400; an interval of ± 0.01 around the probability."""
    metrics = {
        "forget_probability": Metric(probability, 400, probability - 0.01, probability + 0.01),
        "model_utility": Metric(utility, 900),
        "model_utility_teacher_forced": Metric(utility + 0.1, 800),
        **more,
    }
    if p is not None:
        metrics |= {"forget_quality": Metric(p, 400), "forget_quality_ks": Metric(ks, 400)}
    return metrics


BEFORE = figures(0.99, p=1e-27, ks=0.40)
REFERENCE = figures(0.10, utility=0.65)


def evidence(after: dict[str, Metric], **changes: object) -> Evidence:
    known = Evidence(
        before=BEFORE,
        after=after,
        reference=REFERENCE,
        shift=Shift(short=0.5, beyond=0.5),
        epoch=4,
        attacks=attacks(),
    )
    return dataclasses.replace(known, **changes)


def without_quality(metrics: dict[str, Metric]) -> dict[str, Metric]:
    return {name: metric for name, metric in metrics.items() if not name.startswith("forget_quality")}


def text(verdict, title: str) -> str:
    return next(finding.text for finding in verdict.findings if finding.title == title)


def on_utility(verdict) -> Finding:
    return next(finding for finding in verdict.findings if finding.title.startswith("Utility"))


def test_forgotten_and_kept():
    verdict = judge(evidence(figures(0.09, p=0.23, ks=0.07)))
    assert verdict.forgetting is Forgetting.FORGOTTEN
    assert verdict.tone is Tone.GOOD
    assert verdict.headline == "Forgotten, and the model's utility is kept."
    assert verdict.utility_kept is True
    assert verdict.over_unlearned is False
    sentence = text(verdict, "Forgotten")
    assert sentence.startswith(
        "The test cannot tell the unlearned model from a model that never saw the data, N = 400 "
        "(Kolmogorov–Smirnov test on the truth ratios: p = 0.230; below 0.05 would be a difference)."
    )
    assert sentence.endswith("below a KS distance of about 0.096.")  # 1.358 √(2/400) = 0.0960


@pytest.mark.parametrize(
    ("p", "expected"),
    [(0.05, Forgetting.FORGOTTEN), (0.0499, Forgetting.PARTLY), (0.9, Forgetting.FORGOTTEN)],
)
def test_the_border_of_forgotten_is_5_percent(p, expected):
    assert judge(evidence(figures(0.09, p=p, ks=0.1))).forgetting is expected


@pytest.mark.parametrize(
    ("ks", "expected", "way"),
    [
        (0.20, Forgetting.PARTLY, "50 % of the way"),
        (0.21, Forgetting.NOT, "47 % of the way"),
        (0.45, Forgetting.NOT, "no part of the way"),
    ],
)
def test_partly_is_half_of_the_way_to_the_reference(ks, expected, way):
    verdict = judge(evidence(figures(0.3, p=1e-6, ks=ks), shift=Shift(short=1e-6, beyond=0.9)))
    assert verdict.forgetting is expected
    assert way in verdict.findings[0].text
    assert "p = 1.00 × 10⁻⁶" in verdict.findings[0].text
    assert "N = 400" in verdict.findings[0].text


def test_not_forgotten_is_bad_even_when_the_utility_is_kept():
    verdict = judge(evidence(figures(0.95, p=1e-20, ks=0.38), shift=Shift(1e-20, 0.9)))
    assert verdict.headline == "Not forgotten; the model's utility is kept."
    assert verdict.tone is Tone.BAD


def test_truth_ratio_like_the_reference_but_answers_still_known():
    verdict = judge(evidence(figures(0.90, p=0.4, ks=0.05)))
    assert verdict.forgetting is Forgetting.PARTLY
    assert "0.990 before, 0.900 after, 0.100 for the reference" in text(verdict, "Partly forgotten")


def test_model_that_never_knew():
    verdict = judge(evidence(figures(0.10, p=0.6, ks=0.05), before=figures(0.11, p=0.3, ks=0.06)))
    assert verdict.forgetting is Forgetting.NEVER_KNOWN
    assert verdict.headline == "There was nothing to forget; the model's utility is kept."
    assert "p = 0.300 before, 0.600 after" in text(verdict, "Nothing to forget")


def test_pushed_past_the_reference():
    verdict = judge(evidence(figures(0.06, p=1e-8, ks=0.3), shift=Shift(short=0.8, beyond=1e-8)))
    assert verdict.forgetting is Forgetting.OVERSHOT
    assert verdict.over_unlearned is True
    assert verdict.tone is Tone.CAUTION
    assert verdict.headline == "Pushed past forgetting; the model's utility is kept."
    assert "the truth ratios lie beyond the reference's" in text(verdict, "Over-unlearning")
    assert "Streisand effect" in text(verdict, "Over-unlearning")


def test_beyond_for_some_questions_and_short_for_others_is_no_overshoot():
    verdict = judge(evidence(figures(0.2, p=1e-8, ks=0.3), shift=Shift(short=1e-4, beyond=1e-8)))
    assert verdict.forgetting is Forgetting.NOT
    assert "for a part of the questions" in text(verdict, "Over-unlearning")


def test_answers_far_less_probable_than_for_the_reference():
    verdict = judge(evidence(figures(0.03, p=0.2, ks=0.07)))
    assert verdict.forgetting is Forgetting.FORGOTTEN
    assert verdict.over_unlearned is True
    assert verdict.tone is Tone.CAUTION
    assert verdict.headline.endswith("There are signs of over-unlearning.")
    assert "less than half as probable (0.0300) as for a model that never saw them (0.100)" in text(
        verdict, "Over-unlearning"
    )


def test_wide_intervals_are_no_sign_of_over_unlearning():
    after = figures(0.03, p=0.2) | {"forget_probability": Metric(0.03, 5, 0.0, 0.2)}
    assert judge(evidence(after)).over_unlearned is False


@pytest.mark.parametrize(
    ("utility", "kept", "shown"),
    [(0.608, True, "95.000 %"), (0.6079, False, "94.984 %"), (0.64, True, "100.0 %"), (0.5, False, "78.1 %")],
)
def test_utility_rule(utility, kept, shown):
    """0.608 / 0.64 = 0.95 exactly; what is shown must not contradict the rule."""
    verdict = judge(evidence(figures(0.09, p=0.23, utility=utility)))
    assert verdict.utility_kept is kept
    finding = on_utility(verdict)
    assert f"that is {shown} of it; the rule asks for at least 95 %. N = 900." in finding.text
    assert finding.title == ("Utility kept" if kept else "Utility not kept")
    if not kept:
        assert verdict.headline == "Forgotten, but the model's utility is not kept."
        assert verdict.tone is Tone.BAD


def test_utility_is_judged_without_generations_where_there_are_none():
    after = figures(0.09, p=0.23, utility=0.1)
    del after["model_utility"]  # teacher-forced: 0.2 of 0.74
    finding = on_utility(judge(evidence(after)))
    assert finding.text.startswith(
        "Model utility without generated answers (teacher-forced): 0.740 before, 0.200"
    )
    assert finding.title == "Utility not kept"


def test_utility_not_measured():
    after = {"forget_probability": Metric(0.1, 400), "forget_quality": Metric(0.5, 400)}
    verdict = judge(evidence(after))
    assert verdict.utility_kept is None
    assert verdict.headline == "Forgotten; what should be kept was not measured."
    assert verdict.tone is Tone.CAUTION


def test_floor_of_the_recipe():
    verdict = judge(evidence(figures(0.09, p=0.23, utility=0.62), floor=0.975))
    assert verdict.utility_kept is False
    assert "at least 97.5 %" in on_utility(verdict).text


def test_no_reference_says_what_cannot_be_claimed():
    case = evidence(figures(0.09), before=without_quality(BEFORE), reference={}, shift=None)
    verdict = judge(case)
    assert verdict.forgetting is Forgetting.REDUCED
    assert verdict.tone is Tone.OPEN
    assert verdict.over_unlearned is None
    assert verdict.headline.startswith("Recalled less, but whether it is forgotten cannot be said")
    sentence = verdict.findings[0].text
    assert "0.990 before and 0.0900 after, N = 400" in sentence
    assert "it cannot be claimed that the data is forgotten as well as by such a model" in sentence
    assert any("Without a reference model" in limit for limit in limits(case))
    assert not any("Without a reference model" in limit for limit in limits(evidence(figures(0.09))))


def test_no_reference_and_still_known():
    case = evidence(figures(0.7), before=without_quality(BEFORE), reference={}, shift=None)
    verdict = judge(case)
    assert verdict.forgetting is Forgetting.NOT
    assert text(verdict, "Not forgotten").startswith(
        "The model recalls the forget set more than half as well as"
    )


def test_no_reference_and_a_fall_that_may_be_chance():
    """0.4 → 0.15 is more than half of it gone, but of few questions: the intervals meet between 0.2 and 0.3."""
    before = {"forget_probability": Metric(0.4, 10, 0.2, 0.6)}
    case = Evidence(before=before, after={"forget_probability": Metric(0.15, 10, 0.05, 0.3)})
    verdict = judge(case)
    assert verdict.forgetting is Forgetting.NOT
    assert "the 95 % intervals meet, so this may be chance" in text(verdict, "Not forgotten")
    assert "more than half" not in text(verdict, "Not forgotten")


def test_nothing_measured():
    verdict = judge(Evidence())
    assert verdict.forgetting is Forgetting.UNKNOWN
    assert verdict.headline == "Forgetting was not measured; what should be kept was not measured."


def test_stopped_early():
    verdict = judge(evidence(figures(0.09, p=0.23), stopped="The loss became NaN at step 40."))
    assert text(verdict, "Stopped early") == (
        "Training stopped before its last epoch: The loss became NaN at step 40."
    )
    left = judge(evidence(figures(0.09, p=0.23), stopped="an earlier epoch was nearer to its aim"))
    assert text(left, "Stopped early").endswith(": an earlier epoch was nearer to its aim.")
    done = judge(evidence(figures(0.09, p=0.23), stopped=NOTHING_LEFT))
    (found,) = [one for one in done.findings if one.title == "Ended early"]
    assert (found.tone, found.text) == (
        Tone.GOOD, "Training ended before its last epoch, since nothing is left to gain."
    )  # fmt: skip


def test_no_epoch_met_the_rule():
    verdict = judge(evidence(figures(0.09, p=0.23), qualified=False))
    assert verdict.tone is Tone.CAUTION
    assert text(verdict, "No epoch met the utility rule") == (
        "No epoch kept 95 % of the utility during training. Epoch 4 was kept nevertheless."
    )


def test_the_last_epoch_was_asked_for_and_does_not_meet_the_rule():
    verdict = judge(evidence(figures(0.09, p=0.23), qualified=False, last=True))
    assert verdict.tone is Tone.CAUTION
    assert text(verdict, "The last epoch does not meet the utility rule") == (
        "The recipe asks for the last epoch, and it kept less than 95 % of the utility."
    )
    assert "No epoch met the utility rule" not in [finding.title for finding in verdict.findings]


def test_failed_run():
    verdict = judge(Evidence(before=BEFORE, failed=True, stopped="Out of memory."))
    assert verdict.tone is Tone.BAD
    assert verdict.headline.startswith("The run failed. Forgetting was not measured")
    assert text(verdict, "The run failed") == "Out of memory."


def test_forget_quality_that_is_not_a_number():
    verdict = judge(evidence(figures(0.09, p=float("nan"))))
    assert verdict.forgetting is Forgetting.UNKNOWN


def memory(probability: float, exact: float, retain: float = 0.8) -> dict[str, Metric]:
    return {
        "forget_probability": Metric(probability, 50, probability - 0.02, probability + 0.02),
        "forget_exact_memorization": Metric(exact, 50, exact - 0.03, exact + 0.03),
        "retain_probability": Metric(retain, 200, retain - 0.02, retain + 0.02),
    }


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        (memory(0.11, 0.22), Forgetting.FORGOTTEN),  # up to 0.12 and 0.23
        (memory(0.11, 0.25), Forgetting.PARTLY),  # though the intervals meet
        (memory(0.11, 0.45), Forgetting.PARTLY),  # (0.9 − 0.45) / (0.9 − 0.2) = 64 % of the way
        (memory(0.11, 0.80), Forgetting.NOT),  # the measure that went the smallest part of the way counts
        (memory(0.90, 0.90), Forgetting.NOT),
    ],
)
def test_own_data_is_compared_by_every_measure_of_memory(after, expected):
    verdict = judge(
        Evidence(before=memory(0.9, 0.9), after=after, reference=memory(0.1, 0.2), attacks=attacks())
    )
    assert verdict.forgetting is expected
    assert "N = 50" in verdict.findings[0].text
    assert on_utility(verdict).text.startswith(
        "Mean probability of the retain answers: 0.800 before, 0.800 after"
    )


def few(before: float, after: float, never: float, half: float) -> Evidence:
    """Eight questions, whose intervals are wide."""
    sides = [
        {"forget_probability": Metric(value, 8, max(0, value - half), min(1, value + half))}
        for value in (before, after, never)
    ]
    return Evidence(before=sides[0], after=sides[1], reference=sides[2], attacks=attacks())


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (
            few(0.55, 0.38, 0.38, 0.13),
            Forgetting.FORGOTTEN,
        ),  # it was known by more than 0.1, though the intervals meet
        (few(0.45, 0.38, 0.38, 0.13), Forgetting.NEVER_KNOWN),
        (few(0.666, 0.599, 0.380, 0.13), Forgetting.NOT),  # 23 % of the way, though the intervals meet
    ],
)
def test_few_questions_excuse_nothing(case, expected):
    assert judge(case).forgetting is expected


def test_a_test_on_few_questions_does_not_say_that_nothing_was_known():
    """The KS test on 20 truth ratios misses what the probabilities show."""
    reference = {"forget_probability": Metric(0.11, 20, 0.07, 0.16)}
    before = {"forget_probability": Metric(0.95, 20, 0.91, 0.98), "forget_quality": Metric(0.08, 20)}
    for probability, expected in ((0.12, Forgetting.FORGOTTEN), (0.90, Forgetting.NOT)):
        after = {
            "forget_probability": Metric(probability, 20, probability - 0.05, probability + 0.05),
            "forget_quality": Metric(0.5, 20),
        }
        case = Evidence(before=before, after=after, reference=reference, attacks=attacks())
        assert judge(case).forgetting is expected


def test_own_data_that_was_never_known():
    verdict = judge(Evidence(before=memory(0.1, 0.2), after=memory(0.05, 0.1), reference=memory(0.1, 0.2)))
    assert verdict.forgetting is Forgetting.NEVER_KNOWN


def with_holdout(probability: float, exact: float, auc: float, held: tuple[float, float] = (0.1, 0.2)):
    metrics = memory(probability, exact)
    metrics |= {
        "holdout_probability": Metric(held[0], 50, held[0] - 0.02, held[0] + 0.02),
        "holdout_exact_memorization": Metric(held[1], 50, held[1] - 0.03, held[1] + 0.03),
        "membership_inference_min_k": Metric(auc, 100, auc - 0.08, auc + 0.08),
    }
    return metrics


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (with_holdout(0.13, 0.24, 0.55), Forgetting.NEVER_KNOWN),  # 0.11 ≤ 0.12, 0.21 ≤ 0.23, 0.47 ≤ 0.5
        (with_holdout(0.15, 0.24, 0.55), Forgetting.NOT),  # 0.13 > 0.12
        (with_holdout(0.13, 0.27, 0.55), Forgetting.NOT),  # 0.24 > 0.23: one measure is enough
        (with_holdout(0.13, 0.24, 0.59), Forgetting.NOT),  # 0.51 > 0.5: told from the holdout
        (memory(0.13, 0.24), Forgetting.NOT),  # nothing to compare with
    ],
)
def test_what_was_never_known_shows_beside_a_holdout(before, expected):
    verdict = judge(Evidence(before=before, after=with_holdout(0.16, 0.29, 0.5)))
    assert verdict.forgetting is expected
    finding = verdict.findings[0]
    if expected is Forgetting.NEVER_KNOWN:
        assert verdict.headline.startswith("There was nothing to forget; ")
        assert verdict.tone is Tone.CAUTION
        assert "no more of the forget set than of the holdout, which it never saw" in finding.text
        assert "0.130 before, 0.160 after, 0.100 of the holdout" in finding.text
        assert "N = 50" in finding.text
    unsure = "whether this one did, a holdout (data.holdout) or a reference can tell"
    assert (unsure in finding.text) is ("holdout_probability" not in before)


@pytest.mark.parametrize(
    ("after", "expected", "words"),
    [
        (
            with_holdout(0.12, 0.23, 0.55), Forgetting.FORGOTTEN,  # 0.10 ≤ 0.12, 0.20 ≤ 0.23, 0.47 ≤ 0.5
            "no more of the forget set than of the holdout, which it never saw, within the 95 % intervals, N = 50",
        ),
        (with_holdout(0.12, 0.23, 0.59), Forgetting.PARTLY, "still tells the two apart (AUC 0.590; 0.5 is a guess)"),
        (with_holdout(0.12, 0.50, 0.5), Forgetting.PARTLY, "57 % of the way"),  # (0.9 − 0.5) / (0.9 − 0.2)
        (with_holdout(0.12, 0.80, 0.5), Forgetting.NOT, "14 % of the way"),
    ],
)  # fmt: skip
def test_without_a_reference_the_holdout_tells_what_was_never_seen(after, expected, words):
    verdict = judge(Evidence(before=with_holdout(0.9, 0.9, 0.99), after=after, attacks=attacks()))
    assert verdict.forgetting is expected
    assert verdict.over_unlearned is False
    assert words in verdict.findings[0].text
    assert "0.900 before, 0.120 after, 0.100 of the holdout" in verdict.findings[0].text


def test_what_has_become_likelier_of_the_holdout_may_be_recalled_of_the_forget_set():
    """Beside 0.1 ± 0.02 before and 0.2 ± 0.02 now."""
    before = with_holdout(0.9, 0.9, 0.99)

    def judged(probability: float, auc: float) -> Forgetting:
        after = with_holdout(probability, 0.23, auc, held=(0.2, 0.2))
        return judge(Evidence(before=before, after=after, attacks=attacks())).forgetting

    assert judged(0.22, 0.55) is Forgetting.FORGOTTEN
    assert judged(0.23, 0.55) is Forgetting.PARTLY
    assert judged(0.22, 0.59) is Forgetting.PARTLY  # told from it by the same model
    # What it was before says whether there was anything to forget, and what is too little.
    known = with_holdout(0.15, 0.21, 0.52)
    after = with_holdout(0.12, 0.20, 0.5, held=(0.2, 0.2))
    assert judge(Evidence(before=known, after=after, attacks=attacks())).forgetting is Forgetting.FORGOTTEN
    little = with_holdout(0.07, 0.20, 0.5, held=(0.2, 0.2))
    assert judge(Evidence(before=before, after=little, attacks=attacks())).over_unlearned is False


def test_answers_far_less_probable_than_those_of_the_holdout():
    case = Evidence(before=with_holdout(0.9, 0.9, 0.99), after=with_holdout(0.03, 0.1, 0.3))
    verdict = judge(dataclasses.replace(case, attacks=attacks()))
    assert verdict.forgetting is Forgetting.FORGOTTEN
    assert verdict.over_unlearned is True  # 0.03 < 0.1 / 2, and 0.04 < 0.08
    assert "less than half as probable (0.0300) as those of the holdout (0.100)" in text(
        verdict, "Over-unlearning"
    )


def test_of_a_holdout_of_seven_nothing_can_be_said():
    few = {name: dataclasses.replace(metric, n=7) if name.startswith("holdout") else metric
           for name, metric in with_holdout(0.9, 0.9, 0.99).items()}  # fmt: skip
    assert judge(Evidence(before=few, after=with_holdout(0.12, 0.23, 0.5))).forgetting is Forgetting.REDUCED


def test_an_answer_that_was_trained_is_not_judged_by_a_holdout_that_nothing_is_generated_for():
    before, after = (
        with_holdout(0.9, 0.9, 0.99) | {"forget_rouge": Metric(0.9, 50, 0.85, 0.95)},
        with_holdout(0.9, 0.9, 0.99) | {"forget_rouge": Metric(0.1, 50, 0.05, 0.15)},
    )
    assert judge(Evidence(before=before, after=after, aims="answers")).forgetting is Forgetting.REDUCED


def test_nothing_was_forgotten_of_what_was_only_guessed():
    def accuracies(biology: float, security: float) -> dict[str, Metric]:
        return {
            "wmdp_bio_acc": Metric(biology, 1273, biology - 0.02, biology + 0.02),
            "wmdp_cyber_acc": Metric(security, 1987, security - 0.02, security + 0.02),
            "mmlu_acc": Metric(0.26, 14042, 0.25, 0.27),
        }

    after = accuracies(0.25, 0.25)
    verdict = judge(Evidence(before=accuracies(0.26, 0.24), after=after))
    assert verdict.forgetting is Forgetting.NEVER_KNOWN
    assert "than guessing gives" in verdict.findings[0].text
    assert "0.260 before, 0.250 after, 0.25 by guessing" in verdict.findings[0].text
    assert judge(Evidence(before=accuracies(0.26, 0.45), after=after)).forgetting is Forgetting.NOT


def test_the_utility_is_the_one_that_the_runs_rule_used():
    """A run that generates answers of the chosen epoch alone chose it by the utility that needs none.

    But what the answers show to be lost is lost.
    """
    after = figures(0.09, p=0.23, ks=0.07, utility=0.62)
    assert text(judge(evidence(after)), "Utility kept").startswith("Model utility: 0.640 before, 0.620 after")
    found = judge(evidence(after, utility="model_utility_teacher_forced"))
    assert text(found, "Utility kept").startswith(
        "Model utility without generated answers (teacher-forced): 0.740 before, 0.720 after"
    )
    lost = figures(0.09, p=0.23, ks=0.07, utility=0.605)  # 94.5 % with the answers, 95.3 % without
    found = judge(evidence(lost, utility="model_utility_teacher_forced"))
    assert found.utility_kept is False
    assert text(found, "Utility not kept").startswith("Model utility: 0.640 before, 0.605 after")


def test_the_line_and_what_run_json_has_of_it():
    """Strong enough and as good: nothing against it, nothing to try."""
    good = judge(evidence(figures(0.09, p=0.23, ks=0.07)))
    assert good.satisfied
    assert good.line == good.headline == "Forgotten, and the model's utility is kept."
    assert good.to_json() == {
        "forgetting": "forgotten", "utility_kept": True, "headline": good.headline, "against": [], "next": [],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("after", "word", "against", "following"),
    [
        (
            figures(0.95, p=1e-20, ks=0.38), "not forgotten", ["the forget set is still recalled"],
            ["train for longer (more training.epochs), or in larger steps (a higher training.learning_rate)"],
        ),
        (
            figures(0.3, p=1e-6, ks=0.2), "partly", ["a part of the forget set is still recalled"],
            ["train for longer (more training.epochs), or in larger steps (a higher training.learning_rate)"],
        ),
        (
            figures(0.09, p=0.23, utility=0.5), "forgotten", ["the model lost utility"],
            ["let what should stay weigh more (a higher objective.retain_weight), give more examples of it "
             "(data.retain), or train in smaller steps (a lower training.learning_rate)"],
        ),
        (
            figures(0.95, p=1e-20, ks=0.38, utility=0.5), "not forgotten",
            ["the forget set is still recalled", "the model lost utility"],
            ["train for longer in smaller steps (more training.epochs, a lower training.learning_rate), or give more "
             "examples of what should stay (data.retain)"],
        ),
    ],
    ids=["too weak", "half", "too strong", "both"],
)  # fmt: skip
def test_what_stands_against_it_and_what_to_try_next(after, word, against, following):
    verdict = judge(evidence(after, shift=Shift(1e-6, 0.9)))
    assert verdict.to_json()["forgetting"] == word
    assert (verdict.against, verdict.next) == (against, following)
    assert not verdict.satisfied
    assert verdict.line.endswith(f"Against it: {'; '.join(against)}. To try next: {'; '.join(following)}.")


@pytest.mark.parametrize(
    ("after", "following"),
    [
        (
            figures(0.95, p=1e-20, ks=0.38),
            "train for longer (more training.epochs), search longer for the size of the steps (more tuning.trials), or "
            "let what should stay weigh less (a lower objective.retain_weight)",
        ),
        (
            figures(0.09, p=0.23, utility=0.5),
            "let what should stay weigh more (a higher objective.retain_weight), or give more examples of it "
            "(data.retain)",
        ),
        (
            figures(0.95, p=1e-20, ks=0.38, utility=0.5),
            "train for longer (more training.epochs), or give more examples of what should stay (data.retain)",
        ),
    ],
    ids=["too weak", "too strong", "both"],
)  # fmt: skip
def test_a_rate_that_was_found_is_no_tip(after, following):
    assert judge(evidence(after, shift=Shift(1e-6, 0.9), rate_found=True)).next == [following]


def test_overshot_and_what_cannot_be_told():
    past = judge(evidence(figures(0.06, p=1e-8, ks=0.3), shift=Shift(short=0.8, beyond=1e-8)))
    assert past.to_json()["forgetting"] == "overshot"
    assert past.next == [
        "train for less long (fewer training.epochs), or in smaller steps (a lower training.learning_rate)"
    ]
    alone = judge(evidence(figures(0.09), before=without_quality(BEFORE), reference={}, shift=None))
    assert alone.to_json()["forgetting"] == "cannot be said"
    reference = "compare with a model that never saw it (evaluation.reference)"
    more = f"{reference}, or with 8 samples or more that this one never saw (data.holdout)"
    assert alone.next == [more]
    for n, tip in ((7, more), (8, reference)):
        held_out = {**BEFORE, "forget_rouge": Metric(0.9, 50), "holdout_probability": Metric(0.09, n)}
        after = {**figures(0.09), "forget_rouge": Metric(0.1, 50)}
        written = evidence(after, before=without_quality(held_out), reference={}, shift=None, aims="answers")
        assert judge(written).next[0] == tip


@pytest.mark.parametrize(
    ("n", "after", "kept"),
    [(30, 0.79, True), (29, 0.79, None), (29, 0.70, None), (29, 0.69, False), (30, 0.70, False)],
)
def test_utility_of_few_samples_cannot_be_said_unless_it_is_clearly_lost(n, after, kept):
    """0.8 ± 0.05 before: its lower end times 0.95 is 0.7125; lost is an upper end, after + 0.02, under it."""
    before = memory(0.9, 0.9) | {"retain_probability": Metric(0.8, n, 0.75, 0.85)}
    after = memory(0.1, 0.1) | {"retain_probability": Metric(after, n, after - 0.02, after + 0.02)}
    verdict = judge(Evidence(before=before, after=after, reference=memory(0.1, 0.2), attacks=attacks()))
    assert verdict.utility_kept is kept
    if kept is None:
        assert verdict.headline == "Forgotten; whether the model's utility is kept cannot be said."
        assert verdict.against == [f"the utility was measured on {n} samples only"]
        assert verdict.next == [
            "give more examples of what should stay (data.retain), or have the model write them (data.retain: self)"
        ]
        assert "too few to say whether it is kept" in text(verdict, "Utility cannot be said")


@pytest.mark.parametrize(
    ("mean", "least", "lost"), [(0.9, 0.72, True), (0.9, 0.77, False), (0.70, 0.70, False)]
)
def test_what_is_lost_behind_a_mean_that_rises_stands_against_it(mean, least, lost):
    """0.8 before: 0.72 is 90 % of it, 0.77 is 96 %. Where the mean falls with it the utility is lost as it is."""
    kept = {"retain_kept": Metric(0.8, 200, 0.78, 0.82)}
    before, after = memory(0.9, 0.9) | kept, memory(0.1, 0.1, mean) | {"retain_kept": Metric(least, 200)}
    verdict = judge(Evidence(before=before, after=after, reference=memory(0.1, 0.2), attacks=attacks()))
    assert verdict.utility_kept is (mean > 0.76)
    said = "answers that should stay are lost, though others have become likelier: 90.0 % of their probability is left"
    assert (said in verdict.against) is lost
    assert any("data.retain" in tip for tip in verdict.next) is (lost or not verdict.utility_kept)
    assert (verdict.tone is Tone.GOOD) is (verdict.utility_kept and not lost)
    titles = [finding.title for finding in verdict.findings]
    assert ("Answers that should stay are lost" in titles) is lost
    if lost:
        assert "0.720 of 0.800 is left, that is 90.0 %." in text(
            verdict, "Answers that should stay are lost"
        ).replace("\u00a0", " ")


def answers(probability: float, rouge: float) -> dict[str, Metric]:
    return memory(probability, probability) | {
        "forget_rouge": Metric(rouge, 50, rouge - 0.03, rouge + 0.03), "retain_rouge": Metric(0.8, 200, 0.7, 0.9),
    }  # fmt: skip


@pytest.mark.parametrize("aims", ["answers", "probabilities"])
def test_a_loss_that_aims_at_answers_is_judged_by_them(aims):
    """It says "I don't know" to everything, and the true answers are as probable as before."""
    case = Evidence(
        before=answers(0.9, 0.95),
        after=answers(0.85, 0.1),
        reference=answers(0.1, 0.4),
        aims=aims,
        attacks=attacks(),
    )
    verdict = judge(case)
    if aims == "answers":
        assert verdict.forgetting is Forgetting.FORGOTTEN
        assert "0.950 before, 0.100 after, 0.400 for the reference" in text(verdict, "Forgotten")
        assert "0.900 before and 0.850 after" in text(verdict, "Still probable")
        assert verdict.against == ["the true answers are still probable"]
        unwritten = {side: memory(0.9, 0.9) for side in ("before", "after")}
        assert judge(dataclasses.replace(case, **unwritten)).forgetting is Forgetting.NOT
    else:
        assert verdict.forgetting is Forgetting.NOT
        assert "Still probable" not in [finding.title for finding in verdict.findings]


def test_forget_quality_says_nothing_of_answers():
    before = figures(0.99, p=1e-27, ks=0.4) | {"forget_rouge": Metric(0.95, 400, 0.94, 0.96)}
    after = figures(0.99, p=1e-27, ks=0.4) | {"forget_rouge": Metric(0.05, 400, 0.04, 0.06)}
    reference = {**REFERENCE, "forget_rouge": Metric(0.4, 400, 0.39, 0.41)}
    case = evidence(after, before=before, reference=reference, aims="answers")
    assert judge(case).forgetting is Forgetting.FORGOTTEN
    assert judge(dataclasses.replace(case, aims="probabilities")).forgetting is Forgetting.NOT


def share(value: float, n: int, half: float = 0.02) -> Metric:
    return Metric(value, n, value - half, value + half)


@pytest.mark.parametrize(
    ("forget", "reference", "unknown"),
    [
        (share(0.11, 8), share(0.10, 8), True),  # 0.11 ≤ 0.12, 0.13 ≤ 0.20
        (share(0.11, 7), share(0.10, 8), False),  # too few
        (share(0.11, 8), share(0.10, 7), False),
        (share(0.13, 400), share(0.10, 400), False),  # 0.13 > 0.12: it recalls more
        (share(0.11, 400, 0.095), share(0.10, 400), False),  # 0.205 > 0.20: it may recall more
    ],
)
def test_before_training_only_what_is_clear_counts(forget, reference, unknown):
    found = clearly_unknown(
        Evidence(before={"forget_probability": forget}, reference={"forget_probability": reference})
    )
    assert (found is not None) is unknown
    if found:
        assert found == (
            "the model recalls no more of the forget set than a model that never saw it, N = 8 (mean probability of "
            "the forget answers: 0.110 against 0.100)"
        )


def test_nothing_to_forget_by_holdout_by_forget_quality_and_by_guessing():
    held = with_holdout(0.11, 0.21, 0.55)
    assert "of the holdout" in clearly_unknown(Evidence(before=held))
    assert clearly_unknown(Evidence(before=with_holdout(0.11, 0.21, 0.59))) is None  # 0.51: told apart
    assert clearly_unknown(Evidence(before=memory(0.01, 0.01))) is None  # nothing to compare with
    same = {"forget_probability": share(0.1, 400)}
    for p, unknown in ((0.3, True), (0.049, False), (float("nan"), False)):
        before = {**same, "forget_quality": Metric(p, 400)}
        assert (clearly_unknown(Evidence(before=before, reference=same)) is not None) is unknown
    for accuracy, unknown in ((0.26, False), (0.25, True)):
        guessed = clearly_unknown(Evidence(before={"wmdp_bio_acc": share(accuracy, 1273)}))
        assert (guessed is not None) is unknown


@pytest.mark.parametrize(
    ("change", "unknown"),
    [
        ({}, True),
        ({"forget_perplexity": Metric(41, 30, 39.9, 42)}, False),  # not twice the upper end of 20
        ({"forget_perplexity": Metric(50, 29, 45, 55)}, False),
        ({"forget_extraction_strength": share(0.09, 30)}, False),  # up to 0.11
        ({"forget_rouge": share(0.3, 30)}, False),
    ],
)
def test_like_text_tells_where_the_forget_set_is_far_stranger(change, unknown):
    before = {
        "forget_perplexity": Metric(50, 30, 45, 55),
        "retain_perplexity": Metric(19, 30, 18, 20),
        "forget_probability": share(0.03, 30),
        "forget_extraction_strength": share(0.05, 30),
        **change,
    }
    assert (clearly_unknown(Evidence(before=before)) is not None) is unknown
    assert clearly_unknown(Evidence(before=before, surrogate={"samples": 9, "held_out": 2})) is None


def test_runs_that_hand_over_no_model():
    never = judge(Evidence(before=with_holdout(0.11, 0.21, 0.55), ended="nothing to forget"))
    assert never.headline == "There was nothing to forget; no model is handed over."
    assert (never.forgetting, never.tone, never.against) == (Forgetting.NEVER_KNOWN, Tone.CAUTION, [])
    assert never.next == ["check that the model was trained on what it is to forget (model.path)"]
    case = Evidence(before=BEFORE, ended="nothing was forgotten", futile="unchanged", qualified=False)
    failed = judge(case)
    assert failed.headline == "Nothing was forgotten; no model is handed over."
    assert (failed.forgetting, failed.tone, failed.satisfied) == (Forgetting.NOT, Tone.BAD, False)
    assert "the learning rate is too low" in text(failed, "Nothing was forgotten")
    assert "No epoch met the utility rule" not in [finding.title for finding in failed.findings]
    assert "After no epoch" in judge(dataclasses.replace(case, futile="no better")).findings[0].text


# --- attacks: only what they do not bring back counts as forgotten

FORGOT = figures(0.09, p=0.23, ks=0.07)


def test_without_attacks_it_is_forgotten_as_asked():
    verdict = judge(evidence(FORGOT, attacks=None))
    assert verdict.forgetting is Forgetting.AS_ASKED
    assert verdict.to_json()["forgetting"] == "forgotten as asked, attacks not run"
    assert verdict.headline == "Forgotten as asked, attacks not run, and the model's utility is kept."
    assert verdict.tone is Tone.OPEN
    assert not verdict.satisfied
    assert verdict.against == ["attacks were not run, or not all"]
    assert verdict.next == ["try to bring it back (`expunge attack` on the run's folder)"]
    assert any(
        "No attack is part of this report" in sentence for sentence in limits(evidence(FORGOT, attacks=None))
    )


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.05, Forgetting.FORGOTTEN), (0.129, Forgetting.FORGOTTEN), (0.131, Forgetting.PARTLY)],
)
def test_an_attack_counts_once_its_whole_interval_is_above_a_tenth(share, expected):
    """The interval is ± 0.03."""
    verdict = judge(evidence(FORGOT, attacks=attacks(quantise=share, merge=0.0)))
    assert verdict.forgetting is expected
    assert verdict.satisfied is (expected is Forgetting.FORGOTTEN)


def test_an_attack_that_may_have_brought_back_too_much_is_said():
    """12.9 % is more than a tenth, 9.9 % to 15.9 % is not wholly above it."""
    verdict = judge(evidence(FORGOT, attacks=attacks(quantise=0.129, merge=0.0)))
    assert verdict.against == [
        "12.9 % of what was lost may come to light where the weights are rounded to 8 or 4 bits, on too few questions "
        "to be sure"
    ]
    assert verdict.next == ["ask more in the attacks (`expunge attack --budget full` on the run's folder)"]
    sentence = text(verdict, "An attack may bring some of it back")
    assert sentence.endswith(
        "Too much is above 10.0 %, with the whole interval: on so few questions this may be chance."
    )
    least = judge(evidence(FORGOT, attacks=attacks(quantise=0.099, merge=0.0)))
    assert (least.against, least.next) == ([], [])
    assert text(least, "The attacks bring little back").endswith("It would be too much above 10.0 %.")


def test_the_worst_attack_leads():
    verdict = judge(evidence(FORGOT, attacks=attacks(merge=0.02, quantise=0.42)))
    assert verdict.headline == "Partly forgotten, and the model's utility is kept."
    sentence = text(verdict, "An attack brings it back")
    assert sentence.startswith(
        "3 attacks were made on 100 of 120 questions or pieces of text; the verdict rests on 2 of them, as the others "
        "need the model from before or teach the answers. The strongest, quantise "
    )
    assert "brings back 42.0 % of what was lost (95 % interval 39.0 % to 45.0 %, N = 100)" in sentence
    assert verdict.against == [
        "42.0 % of what was lost comes to light where the weights are rounded to 8 or 4 bits"
    ]


def test_what_needs_the_original_does_not_count():
    """`remove` brings back all."""
    assert judge(evidence(FORGOT, attacks=attacks())).forgetting is Forgetting.FORGOTTEN


def test_an_attack_that_was_not_run_is_said_and_missed():
    verdict = judge(evidence(FORGOT, attacks=attacks(missing=("merge",))))
    assert verdict.forgetting is Forgetting.AS_ASKED
    assert text(verdict, "Attacks not all run").endswith("Not run: merge.")


def test_the_attacks_that_were_not_made_are_counted_and_named_with_the_reason():
    """Of eight known ones quantise, merge and remove were made, and two of these count."""
    facts = attacks(missing=("compose", "scale"), quantise=0.02, merge=0.0)
    for name, why in (
        ("cloze", "it needs words"),
        ("rephrase", "they are texts"),
        ("few_shot", "they are texts"),
    ):
        facts.outcomes[name] = AttackOutcome(title="it is asked otherwise", counts=True, unfit=why)
    made = (
        "3 of 8 attacks were made on 100 of 120 questions or pieces of text; the verdict rests on 2 of them, as the "
        "others need the model from before or teach the answers."
    )
    assert how_many(facts) == lines(facts)[0] == made
    not_asked = [
        "Not made: cloze (it needs words).",
        "Not made: rephrase and few_shot (they are texts).",
        "Not made: compose and scale (not asked for).",
    ]
    assert not_made(facts) == not_asked
    assert lines(facts)[-3:] == not_asked
    case = evidence(FORGOT, attacks=facts)
    assert [sentence for sentence in limits(case) if sentence.startswith("Not made")] == not_asked
    assert text(judge(case), "Attacks not all run").startswith(f"{made} The strongest, quantise ")
    facts.outcomes["quantise"].variants["other"] = variant(None)
    assert (
        lines(facts)[-1] == "Nothing can be said of quantise (other): nothing was lost that could come back."
    )


@pytest.mark.parametrize("case", [attacks(quantise=None), attacks(ground="holdout", quantise=0.5)])
def test_attacks_that_say_nothing_leave_it_open(case):
    """Of none there is a share, or there is a bound from above only, which is high."""
    verdict = judge(evidence(FORGOT, attacks=case))
    assert verdict.forgetting is Forgetting.UNRESOLVED
    assert "Attacks without a result" in [finding.title for finding in verdict.findings]
    assert verdict.against == ["the attacks cannot say whether it stays forgotten"]


def test_a_low_bound_from_above_is_enough():
    case = attacks(ground="holdout", quantise=0.02)
    assert judge(evidence(FORGOT, attacks=case)).forgetting is Forgetting.FORGOTTEN


def test_what_merging_and_rounding_bring_back_is_a_self_check():
    not_tried = "Whether the change outlasts 16 bits was not tried: `expunge attack RUN merge quantise` does."
    assert self_check(None) == self_check(attacks(compose=0.1)) == not_tried
    assert (
        self_check(attacks(merge=None))
        == "Whether the change outlasts 16 bits was tried, and cannot be said."
    )
    assert "back: worst at most 40.0 % (" in self_check(attacks(ground="holdout", merge=0.4))
    assert self_check(attacks(compose=0.9, quantise=0.4, merge=0.0)) == (
        "In merged weights so much of what was lost is back: worst 0.0 % (-3.0 % to 3.0 %), worst 40.0 % (37.0 % to "
        "43.0 %)."
    )


def test_a_clear_bound_is_not_hidden_by_a_higher_one_that_may_be_chance():
    wide = variant(0.5, half=0.6, upper_bound=True)
    case = attacks(ground="holdout", merge=0.4, quantise=0.02)
    case.outcomes["quantise"].variants["worst"] = wide
    assert judge(evidence(FORGOT, attacks=case)).forgetting is Forgetting.UNRESOLVED
    del case.outcomes["merge"]
    verdict = judge(evidence(FORGOT, attacks=case))
    assert verdict.forgetting is Forgetting.FORGOTTEN
    assert "at most 50.0 % of what was lost" in text(verdict, "An attack may bring some of it back")
    assert verdict.against == [
        "50.0 % of what was lost may come to light where the weights are rounded to 8 or 4 bits, on too few questions "
        "to be sure"
    ]


@pytest.mark.parametrize(("share", "said"), [(-0.98, True), (-0.29, False)])
def test_what_is_avoided_stands_out_whatever_another_score_says(share, said):
    case = attacks(merge=0.0)
    case.outcomes["membership"] = case.outcomes["merge"].model_copy(
        update={
            "variants": {
                "loss": variant(share, half=0.2, two_sided=True),
                "zlib": variant(-0.08, two_sided=True),
            }
        }
    )
    verdict = judge(evidence(FORGOT, attacks=case))
    assert verdict.forgetting is Forgetting.FORGOTTEN
    stands_out = "what was forgotten stands out by being avoided (membership, loss)"
    assert verdict.against == ([stands_out] if said else [])
    assert verdict.over_unlearned is said
    assert verdict.headline.endswith("There are signs of over-unlearning.") is said
    assert verdict.tone is (Tone.CAUTION if said else Tone.GOOD)
    assert any("train for less long" in tip for tip in verdict.next) is said
    trace = (
        "By membership (loss) the data stand out the other way (-98.0 %, -118.0 % to -78.0 %): they are avoided more "
        "than by a model that never saw them."
    )
    finding = next(each for each in verdict.findings if each.title == "The attacks bring little back")
    assert (trace in finding.text) is (trace in lines(case)) is said
    assert finding.tone is (Tone.CAUTION if said else Tone.GOOD)
    # One-sided attacks may find less than in the reference: that shows nothing.
    one_sided = attacks(merge=share)
    assert judge(evidence(FORGOT, attacks=one_sided)).against == []


def test_attacks_do_not_make_a_bad_result_better():
    for after in (figures(0.09, p=1e-6, ks=0.2), figures(0.09, p=1e-6, ks=0.45)):
        before = judge(evidence(after, attacks=None)).forgetting
        assert judge(evidence(after)).forgetting is before
