"""A key that a recipe gives and nothing asks for is said: who forgot another one gets another experiment."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from expunge.recipe import dump_recipe, load_recipe
from expunge.run.checks import idle_keys
from expunge.run.inputs import Inputs

TOFU = {"model": {"path": "m"}, "data": {"format": "tofu", "path": "d"}}


@pytest.mark.parametrize(
    ("sections", "idle"),
    [
        ({}, []),
        ({"importance": {"official": True, "passes": 3}}, ["importance.official", "importance.passes"]),
        ({"importance": {"official": True}, "adapter": {"initialization": "vila"}}, []),
        ({"importance": {"batch_size": 2}}, []),  # by which the input directions are measured as well
        ({"tuning": {"trials": 3}}, []),
        ({"tuning": {"trials": 3}, "training": {"learning_rate": 1e-3}}, ["tuning.trials"]),
    ],
)
def test_what_nothing_asks_for(sections: dict[str, Any], idle: list[str]) -> None:
    recipe = load_recipe({**TOFU, **sections})
    assert list(idle_keys(recipe)) == idle
    assert (
        list(idle_keys(load_recipe(yaml.safe_load(dump_recipe(recipe))))) == idle
    )  # as a run has written it


def test_a_run_says_it(recipe: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    recipe["adapter"]["initialization"] = "default"
    Inputs(load_recipe({**recipe, "importance": {"perturb": True}}))
    said = "importance.perturb has no use: the initialisation 'default' measures no importance of a paper."
    assert said in capsys.readouterr().err
