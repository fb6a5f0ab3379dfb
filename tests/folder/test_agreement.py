"""What has to be the same to go on with something, and how a difference is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from expunge.errors import InputError, Problem
from expunge.folder.agreement import check_agreement, recipe_facts
from expunge.folder.run import RunFolder
from expunge.recipe import load_recipe
from expunge.storage import read_json

FINISHED = Path(__file__).parent / "earlier_version" / "finished"
WAY_OUT = "Resume with what it was started with, or choose another --output."


def test_every_difference_is_named_at_once_and_a_key_that_an_older_record_lacks_is_none() -> None:
    then = {"a": 1, "b": {"c": None, "d": [1, 2]}}
    now = {"a": 1, "b": {"c": 0, "d": [2, 1], "new": 5}, "new": 6}
    with pytest.raises(InputError) as refused:
        check_agreement(
            (Path("one"), "the input", ("a", "b.c", "b.d", "b.new", "new"), then, now),
            (Path("two"), "the recipe", ("a",), {"a": False}, {"a": 2}),
            (Path("three"), "the recipe", ("a", "new"), then, now),
        )
    assert refused.value.problems == [
        Problem("one", "the input has changed in: b.c, b.d.", WAY_OUT),
        Problem("two", "the recipe has changed in: a.", WAY_OUT),
    ]


def test_names_and_what_a_fingerprint_tells_need_not_agree() -> None:
    recipe = {"name": "a", "output": "b", "seed": 1, "model": {"path": "m", "adapters": ["x"]}}
    assert recipe_facts(recipe) == {"seed": 1, "model": {"path": "m", "adapters": ["x"]}}
    assert recipe_facts(recipe, ("model.adapters",)) == {"seed": 1, "model": {"path": "m"}}
    assert recipe["model"] == {"path": "m", "adapters": ["x"]}


def test_a_run_goes_on_with_the_same_recipe_model_and_data_alone(tmp_path: Path) -> None:
    shutil.copytree(FINISHED, tmp_path / "run")
    folder = RunFolder(tmp_path / "run")
    facts = read_json(folder.state_file)
    moved = load_recipe(
        folder.recipe_file, ["output=elsewhere", "name=other", "model.adapters=[runs/a/adapter]"]
    )
    folder.check_same(moved, facts)
    facts["model"]["fingerprint"] = facts["data"]["retain"]["hash"] = "another"
    facts["data"]["format"] = "tofu"
    with pytest.raises(InputError) as refused:
        folder.check_same(load_recipe(folder.recipe_file, ["seed=1", "training.epochs=9"]), facts)
    assert refused.value.problems == [
        Problem(str(folder.recipe_file), "the recipe has changed in: training, seed.", WAY_OUT),
        Problem(str(folder.state_file), "the input has changed in: model.fingerprint, data.retain.", WAY_OUT),
    ]
