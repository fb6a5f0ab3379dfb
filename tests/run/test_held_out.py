"""How much of the retain set is kept out of training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from expunge.cost.plan import plan
from expunge.data.likeness import content
from expunge.data.sample_set import SampleSet
from expunge.data.samples import QuestionAnswer
from expunge.errors import InputError
from expunge.recipe import load_recipe
from expunge.run.first_recipe import look
from expunge.run.inputs import Inputs, hold_out


def retain(count: int) -> SampleSet:
    return SampleSet(
        "retain.jsonl", [QuestionAnswer(f"question {row}", f"answer {row}") for row in range(count)]
    )


@pytest.mark.parametrize(
    ("count", "held"),
    [(2, 1), (9, 1), (59, 11), (60, 30), (149, 30), (150, 30), (155, 31), (2000, 400), (5000, 400)],
)
def test_a_fifth_and_enough_to_judge_the_utility_where_that_is_at_most_half(count: int, held: int) -> None:
    recipe = load_recipe({"model": {"path": "m"}, "data": {"format": "qa", "forget": "f.jsonl"}})
    whole = retain(count)
    measured, trained = hold_out(whole, recipe)
    assert measured is not None
    assert trained is not None
    assert (len(measured.samples), len(trained.samples)) == (held, count - held)
    assert sorted(map(repr, [*measured.samples, *trained.samples])) == sorted(map(repr, whole.samples))


def test_what_is_measured_is_not_trained_on_though_it_stands_there_twice(
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = load_recipe({"model": {"path": "m"}, "data": {"format": "qa", "forget": "f.jsonl"}})
    once = retain(100).samples
    again = [QuestionAnswer(each.question.upper(), f"{each.answer}.") for each in once]
    measured, trained = hold_out(SampleSet("retain.jsonl", [*once, *again]), recipe)
    assert measured is not None
    assert trained is not None
    assert len(measured.samples) == 40
    assert not {content(each) for each in measured.samples} & {content(each) for each in trained.samples}
    left_out = 160 - len(trained.samples)
    assert f"data.retain: {left_out} samples say the same as one that is measured" in capsys.readouterr().err
    assert 30 < left_out <= 40
    with pytest.raises(InputError, match="all of its 2 samples say the same"):
        hold_out(SampleSet("retain.jsonl", [once[0], again[0]]), recipe)


def test_the_recipe_may_ask_for_fewer_and_one_sample_cannot_be_both() -> None:
    data = {
        "model": {"path": "m"},
        "data": {"format": "qa", "forget": "f.jsonl"},
        "evaluation": {"samples": 7},
    }
    measured, _ = hold_out(retain(100), load_recipe(data))
    assert measured is not None
    assert len(measured.samples) == 7
    with pytest.raises(InputError, match="1 sample cannot both be trained on and measured"):
        hold_out(retain(1), load_recipe(data))


@pytest.mark.parametrize(("count", "held"), [(59, 11), (60, None)])
def test_a_retain_set_that_is_too_small_for_the_utility_is_said_by_init_validate_and_the_run(
    recipe: dict, tmp_path: Path, count: int, held: int | None
) -> None:
    rows = [
        {"question": f"Who is number {n}?", "answer": f"A man of {n} years."} for n in range(100, 100 + count)
    ]
    (tmp_path / "keep.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe["data"]["retain"] = str(tmp_path / "keep.jsonl")
    inputs = Inputs(load_recipe(recipe))
    said = inputs.too_few_for_utility()
    assert said == (inputs.too_few_for_utility(held) if held else None)
    assert said == next((line for line in plan(recipe)["lines"] if "utility" in line), None)
    assert said == look(recipe, knowledge=False).too_few
    assert (
        held is None or f"measured on {held} samples: too few to say that it is kept, which takes 30" in said
    )
    assert inputs.too_few_for_utility(30) is None
    fewer = Inputs(load_recipe(recipe, ["evaluation.samples=7"])).too_few_for_utility()
    assert "measured on 7 samples" in fewer
    assert "evaluation.samples" in fewer
