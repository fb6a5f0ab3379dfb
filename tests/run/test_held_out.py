"""How much of the retain set is kept out of training."""

from __future__ import annotations

import pytest

from expunge.data.sample_set import SampleSet
from expunge.data.samples import QuestionAnswer
from expunge.errors import InputError
from expunge.recipe import load_recipe
from expunge.run.inputs import hold_out


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
