"""How often a model is measured in training, where the recipe leaves that open."""

from __future__ import annotations

from typing import Any

import pytest

from expunge.recipe import load_recipe
from expunge.run.inputs import Inputs


@pytest.fixture
def open_recipe(recipe: dict[str, Any]) -> dict[str, Any]:
    recipe["training"] = {}
    recipe["evaluation"] = {"generate": "never"}
    return recipe


def tokens(inputs: Inputs) -> tuple[int, int]:
    """Of what is measured, and of the pairs of an epoch, as their walked side has them."""
    workload = inputs.benchmark.workload(inputs.encoder)
    assert workload is not None
    return sum(map(len, workload.scored)), 2 * sum(map(len, inputs.forget))


def test_after_every_epoch_where_that_takes_at_most_half_of_its_time(open_recipe: dict[str, Any]) -> None:
    """A pass over what is measured, beside three over what is trained on: the backward pass counts as two."""
    inputs = Inputs(load_recipe(open_recipe))
    measured, trained = tokens(inputs)
    assert inputs.training.epochs > 5
    assert (measured <= 3 * trained / 2) is (inputs.epochs_between_evaluations == 1)
    inputs.benchmark.sets["retain"] = inputs.benchmark.sets["forget"][:1]  # nearly nothing else to measure
    assert tokens(inputs)[0] <= 3 * trained / 2
    assert inputs.epochs_between_evaluations == 1
    inputs.benchmark.sets["retain"] = inputs.benchmark.sets["forget"] * 5
    assert tokens(inputs)[0] > 3 * trained / 2
    assert inputs.epochs_between_evaluations == -(-inputs.training.epochs // 5)


def test_what_the_recipe_says_and_answers_that_are_written(open_recipe: dict[str, Any]) -> None:
    def between(**sections: dict[str, Any]) -> int:
        recipe = {name: {**open_recipe.get(name, {}), **keys} for name, keys in sections.items()}
        inputs = Inputs(load_recipe({**open_recipe, **recipe}))
        inputs.benchmark.sets["retain"] = []
        return inputs.epochs_between_evaluations

    assert between() == 1
    assert between(evaluation={"every": 3}) == 3
    assert between(training={"epochs": 7}) == 1
    # Where answers are written each time, as of a loss that aims at them, measuring is dear.
    assert between(evaluation={"generate": "every"}, objective={"forget": "idk"}) > 1
    assert between(evaluation={"generate": "every"}) == 1  # while a rate is looked for they are left out
