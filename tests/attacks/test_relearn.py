"""Relearning: what is trained and what is asked, the step that counts, and a model that stays as it was."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from expunge.attacks import relearn as module
from expunge.attacks.attack import Curve, Item, Measured, Subject
from expunge.attacks.benign import benign_questions, in_words
from expunge.attacks.curves import steps_to_half
from expunge.attacks.measuring import measured
from expunge.attacks.recovery import recovery
from expunge.attacks.relearn import FULL, PUBLISHED, Arm, Relearn, RelearnAsPublished, halves, relearn
from expunge.data.encoding import Encoder, collate
from expunge.data.samples import QuestionAnswer

ARM = Arm("half", "half", lora=True, rates=(1e-2,), batch_size=4, steps=6)


def item(encoder: Encoder, number: int, group: int = 0) -> Item:
    """A question about word `number`, answered by three words that follow from it."""
    sample = QuestionAnswer(f"w{number}", f"w{number + 1} w{number + 2} w{number + 3}")
    return Item(sample, *sample.encode(encoder), group=group)


@pytest.fixture
def subject(tiny_llama: Any, encoder: Encoder) -> Subject:
    forget = [item(encoder, 4 + 2 * number, group=number // 2) for number in range(8)]
    return Subject(tiny_llama, encoder, forget, [item(encoder, 40 + number) for number in range(6)], seed=1)


def ask(subject: Subject, rows: Sequence[int] | None = None) -> Any:
    items = subject.forget if rows is None else [subject.forget[row] for row in rows]
    return lambda model: measured(model, subject.encoder, items, False, "asked")


def mean(curve: Curve, step: int) -> float:
    values = curve.steps[step]["probability"]
    return sum(values) / len(values)


def test_groups_stay_together_and_the_halves_are_equal() -> None:
    groups = [number // 3 for number in range(24)]
    trained, asked = halves(groups, seed=4)
    assert sorted(trained + asked) == list(range(24))
    assert len(trained) == len(asked) == 12
    assert not {groups[row] for row in trained} & {groups[row] for row in asked}
    assert halves(groups, seed=4) == (trained, asked) != halves(groups, seed=5)


def test_where_no_answer_is_written_the_probability_counts(subject: Subject) -> None:
    """As where texts are asked of a model whose loss aimed at answers."""
    curve = relearn(
        replace(subject, lead="rouge"), ARM, [one.example for one in subject.forget[:4]], ask(subject)
    )
    assert "rouge" not in curve.steps[0]
    assert mean(curve, curve.worst) >= mean(curve, 0)


def test_without_groups_single_items_are_drawn() -> None:
    trained, asked = halves([0] * 9, seed=0)
    assert sorted(trained + asked) == list(range(9))
    assert (len(trained), len(asked)) == (5, 4)


@pytest.mark.parametrize("lora", [True, False])
def test_it_learns_what_it_is_trained_on_and_leaves_the_model_as_it_was(subject: Subject, lora: bool) -> None:
    before = {name: weight.clone() for name, weight in subject.model.state_dict().items()}
    names, trainable = list(before), [weight.requires_grad for weight in subject.model.parameters()]
    arm = replace(ARM, material="whole", lora=lora, steps=20, rates=(2e-2 if lora else 5e-3,))
    curve = relearn(subject, arm, [one.example for one in subject.forget], ask(subject))
    assert list(curve.steps) == [0, 1, 2, 4, 8, 16, 20]
    assert mean(curve, 20) > 5 * mean(curve, 0)
    assert curve.steps[0] == ask(subject)(subject.model)
    after = subject.model.state_dict()
    assert list(after) == names
    assert all(torch.equal(after[name], weight) for name, weight in before.items())
    assert [weight.requires_grad for weight in subject.model.parameters()] == trainable
    assert not subject.model.training


def test_lora_trains_an_adapter_and_the_others_all_weights(subject: Subject) -> None:
    def changed(lora: bool) -> set[str]:
        seen: list[set[str]] = []
        start = dict(subject.model.named_parameters())

        def measure(model: Any) -> Measured:
            there = {name.replace("base_model.model.", "").replace(".base_layer", ""): weight
                     for name, weight in model.named_parameters()}  # fmt: skip
            seen.append({name for name, weight in there.items()
                         if name not in start or not torch.equal(weight, start[name])})  # fmt: skip
            return {"probability": [0.5]}

        relearn(subject, replace(ARM, lora=lora, steps=2), [one.example for one in subject.forget], measure)
        return seen[-1]

    assert {".lora_" in name for name in changed(lora=True)} == {True}
    assert changed(lora=False) == {name for name, _ in subject.model.named_parameters()}


def test_the_same_seed_gives_the_same_curve(subject: Subject) -> None:
    examples = [one.example for one in subject.forget]
    assert relearn(subject, ARM, examples, ask(subject)) == relearn(subject, ARM, examples, ask(subject))


def points(values: dict[int, tuple[float, float]]) -> dict[int, Any]:
    return {step: module._Point({}, lead, utility) for step, (lead, utility) in values.items()}


def test_the_worst_step_is_one_that_keeps_the_utility() -> None:
    course = {0: (0.1, 0.8), 1: (0.2, 0.8), 2: (0.3, 0.73), 4: (0.5, 0.71), 8: (0.25, 0.8)}
    assert module._worst(points(course)) == 2  # 0.71 is less than 90 % of 0.8
    assert module._worst(points({step: (value, math.nan) for step, (value, _) in course.items()})) == 4
    assert module._worst(points({0: (0.1, 0.8), 1: (0.9, 0.1)})) == 0


def test_the_rate_that_brings_back_most_counts(subject: Subject) -> None:
    """At 1e-6 nothing is learnt; at 10 the model is ruined, and its utility with it."""
    arm = replace(ARM, material="whole", rates=(1e-6, 1e-2, 10.0), steps=8)
    curve = relearn(subject, arm, [one.example for one in subject.forget], ask(subject))
    assert curve.facts["learning_rate"] == 1e-2
    assert curve.facts["utility"] >= 0.9
    assert mean(curve, curve.worst) > mean(curve, 0)


def test_of_a_published_recipe_the_last_step_counts(subject: Subject) -> None:
    examples = [one.example for one in subject.forget]
    arm = replace(ARM, rates=(10.0,), steps=None, batch_size=4, last=True)
    curve = relearn(subject, arm, examples, ask(subject))
    assert curve.worst == 2  # one epoch of eight examples in steps of four
    assert mean(curve, 2) < mean(curve, 0)


def test_a_diverged_model_ends_the_course(subject: Subject) -> None:
    values = iter([0.1, 0.2, math.nan])
    curve = relearn(
        subject, ARM, [one.example for one in subject.forget], lambda _: {"probability": [next(values)]}
    )
    assert list(curve.steps) == [0, 1]


def test_variants_ask_for_the_half_that_is_not_trained_on(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: dict[str, list[list[int]]] = {}

    def note(_subject: Subject, arm: Arm, examples: Sequence[Any], _measure: Any) -> None:
        taken[arm.name] = [example.input_ids for example in examples]

    monkeypatch.setattr(module, "relearn", note)
    full = replace(subject, budget="full")
    variants = [*Relearn().variants(full), *RelearnAsPublished().variants(full)]
    assert [one.name for one in variants] == [arm.name for arm in (*FULL, *PUBLISHED)]
    trained, asked = halves([one.group for one in subject.forget], subject.seed)
    for variant, arm in zip(variants, (*FULL, *PUBLISHED), strict=True):
        assert variant.curve is not None
        variant.curve(lambda _: {})
        assert variant.rows == (asked if arm.material == "half" else None)
        if arm.material == "half":
            assert taken[arm.name] == [subject.forget[row].example.input_ids for row in trained]
        elif arm.material == "whole":
            assert taken[arm.name] == [one.example.input_ids for one in subject.forget]
        elif arm.material == "retain":
            assert taken[arm.name] == [one.example.input_ids for one in subject.retain]
        else:
            assert len(taken[arm.name]) == 400
    assert len(list(Relearn().variants(subject))) == 1  # cheap
    assert not any("retain" in one.name for one in Relearn().variants(replace(full, retain=[])))
    assert Relearn().unfit(replace(subject, forget=subject.forget[:1])) == "one item has no other half"


def test_half_of_what_was_lost_is_back() -> None:
    course = {0: 0.2, 1: 0.3, 2: 0.55, 4: 0.6, 8: 0.5}
    assert steps_to_half(course, original=1.0) == 4  # (0.2 + 1.0) / 2
    assert steps_to_half(course, original=0.9) == 2
    assert steps_to_half(course, original=1.1) is None
    assert steps_to_half({0: 0.9, 1: 0.95}, original=0.9) == 0  # nothing was lost


def test_unrelated_questions_are_answered_rightly() -> None:
    pairs = benign_questions(784)
    assert pairs[:400] == benign_questions(784)[:400]
    assert len(benign_questions(400)) == 400
    for question, answer in pairs:
        words = question.rstrip("?.").split()
        if "plus" in words:
            assert answer == f"{words[2]} plus {words[4]} is {int(words[2]) + int(words[4])}."
        elif "minus" in words:
            assert answer == f"{words[2]} minus {words[4]} is {int(words[2]) - int(words[4])}."
    assert ("How do you write 42 in words?", "You write it as forty-two.") in pairs
    assert ("Which day comes two days after Saturday?", "It is Monday.") in pairs
    assert [in_words(number) for number in (0, 13, 20, 99)] == ["zero", "thirteen", "twenty", "ninety-nine"]


def teach(model: Any, items: Sequence[Item], steps: int = 60) -> Any:
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    batch = collate([one.example for one in items], pad_token_id=0)
    for _ in range(steps):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def test_what_was_only_masked_comes_back_and_what_was_never_known_does_not(
    subject: Subject, encoder: Encoder
) -> None:
    """One knows all, and was then told in a few steps to say `w60`; one was taught the retain set alone."""
    knows = teach(copy.deepcopy(subject.model), [*subject.forget, *subject.retain])
    never = teach(copy.deepcopy(subject.model), subject.retain)
    refusals = [QuestionAnswer(one.sample.question, "w60 w60 w60") for one in subject.forget]  # type: ignore[attr-defined]
    refusing = [Item(sample, *sample.encode(encoder)) for sample in refusals]
    masked = teach(copy.deepcopy(knows), [*refusing, *subject.retain], steps=4)
    trained, asked = halves([one.group for one in subject.forget], subject.seed)
    arm = replace(ARM, lora=False, rates=(1e-3,), steps=16)
    examples = [subject.forget[row].example for row in trained]
    measure = ask(subject, asked)
    curves = [
        relearn(replace(subject, model=model, retain=[]), arm, examples, measure) for model in (masked, never)
    ]
    before, back = ([curve.steps[step]["probability"] for curve in curves] for step in (0, 16))
    found = recovery(measure(knows)["probability"], before[0], back[0], before[1], back[1])
    assert found.original > 0.9
    assert (found.left or 1) < 0.5
    assert (found.share or 0) > 0.4
    assert (found.low or 0) > 0.1
    assert (found.attacked_reference or 1) < 0.05


def test_in_bf16_where_that_is_faster_it_comes_to_the_same(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = [each.example for each in subject.forget]
    precise = relearn(subject, ARM, examples, ask(subject))
    monkeypatch.setattr(module, "pass_precision", lambda model: "bf16")
    rounded = relearn(subject, ARM, examples, ask(subject))
    assert mean(precise, 6) > 3 * mean(precise, 0)
    assert mean(rounded, 0) == mean(precise, 0)  # what is measured is measured in fp32
    assert (precise.facts["bf16"], rounded.facts["bf16"]) == (0.0, 1.0)
    assert mean(rounded, 6) != mean(precise, 6)
    assert mean(rounded, 6) == pytest.approx(mean(precise, 6), rel=0.25)
