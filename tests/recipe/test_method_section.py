"""The `method` of a recipe: its short form, what it implies, and what the resolved recipe shows."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from expunge.errors import InputError
from expunge.recipe import dump_recipe, load_recipe
from expunge.recipe.methods import LogitDifference, Retrain, TaskArithmetic, Unlearn
from expunge.recipe.requests import load_requests


def content(**changes: Any) -> dict[str, Any]:
    return {"model": {"path": "a/b"}, "data": {"forget": "f", "retain": "r"}, **changes}


def test_the_short_form_and_the_default() -> None:
    assert load_recipe(content()).method == Unlearn()
    assert load_recipe(content(method="task_arithmetic")).method == TaskArithmetic(scale=1.0)
    assert load_recipe(content(method="uld"), ["method.layers=3"]).method == LogitDifference(layers=3)
    assert load_recipe(content(), ["method={name: retrain, base: c}"]).method == Retrain(base="c")


@pytest.mark.parametrize(
    ("method", "initialization", "export", "absent"),
    [
        ("unlearn", "directions", ["adapter"], set()),
        ("task_arithmetic", "default", ["adapter"], {"objective", "importance"}),
        ({"name": "retrain", "base": "c"}, "default", ["merged"], {"objective", "importance", "adapter"}),
        ({"name": "retrain", "base": "c", "weights": "adapter"}, "default", ["merged"],
         {"objective", "importance"}),
        ("uld", "default", ["assistant"], {"objective", "importance"}),
    ],
)  # fmt: skip
def test_what_a_method_implies_and_does_not_use(method, initialization, export, absent) -> None:
    recipe = load_recipe(content(method=method, adapter={"rank": 4}))
    assert recipe.adapter.initialization == initialization
    assert recipe.adapter.rank == 4
    assert recipe.export == export
    recipe = load_recipe(content(method=method))
    shown = yaml.safe_load(dump_recipe(recipe))
    assert {"objective", "importance", "adapter"} - shown.keys() == absent
    assert load_recipe(shown) == recipe


def test_what_is_given_is_not_overruled() -> None:
    recipe = load_recipe(content(method="uld", adapter={"initialization": "pissa"}, export=["adapter"]))
    assert recipe.adapter.initialization == "pissa"  # refused later, with all that is wrong
    assert recipe.export == ["adapter"]


@pytest.mark.parametrize(
    ("method", "sentence"),
    [
        ("ulb", "recipe: method: there is no method 'ulb'. Did you mean 'uld'?"),
        ({"name": "uld", "layer": 3}, "recipe: method.layer: there is no such key. Did you mean 'layers'?"),
        ("retrain", "recipe: method.base: this key is missing."),
        ({"name": "task_arithmetic", "scale": 0}, "recipe: method.scale: the value 0 does not fit"),
        (5, "recipe: method: the value 5 does not fit"),
    ],
)
def test_mistakes(method: Any, sentence: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(content(method=method))
    assert [str(problem)[: len(sentence)] for problem in caught.value.problems] == [sentence]


def test_several_requests_need_a_method_that_leaves_an_adapter() -> None:
    several = {**content(), "data": {"forget": ["f", "g"], "retain": "r"}}
    assert load_requests({**several, "method": "task_arithmetic"})
    with pytest.raises(InputError, match=r"recipe: method: 'uld' hands over no adapter"):
        load_requests({**several, "method": "uld"})
