"""A space is read and checked as a whole, and every value of it as a recipe."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import optuna
import pytest

from expunge.errors import InputError
from expunge.sweep.checking import Searched
from expunge.sweep.space import read_space
from expunge.sweep.study import ByNumber

SPACE = {
    "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "objective.retain_weight": [1.0, 2.0, 4.0],
    "adapter.rank": {"low": 1, "high": 8, "int": True},
    "training.epochs": {"low": 2, "high": 6, "step": 2, "int": True},
    "adapter.targets": ["all-linear", ["q_proj", "v_proj"]],
}


def drawn(content: Any, trials: int, sampler: str = "random", seed: int = 42) -> list[dict[str, Any]]:
    space = read_space(content)
    study = optuna.create_study(sampler=ByNumber(sampler, seed))
    found = []
    for _ in range(trials):
        trial = study.ask()
        for key, values in space.keys.items():
            values.draw(key, trial)
        study.tell(trial, float(trial.number))
        found.append(space.drawn(trial.params))
    return found


def problems(content: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_space(content)
    return [f"{problem.where}: {problem.reason}" for problem in caught.value.problems]


def test_draws_lie_in_the_space_and_follow_from_number_and_key() -> None:
    trials = drawn(SPACE, 40)
    assert all(1e-4 <= trial["training.learning_rate"] <= 1e-2 for trial in trials)
    assert sum(trial["training.learning_rate"] < 1e-3 for trial in trials) in range(
        10, 31
    )  # even on the logarithm
    assert {trial["adapter.rank"] for trial in trials} <= set(range(1, 9))
    assert {trial["training.epochs"] for trial in trials} == {2, 4, 6}
    assert ["q_proj", "v_proj"] in [trial["adapter.targets"] for trial in trials]
    fewer = drawn({"objective.retain_weight": [1.0, 2.0, 4.0], "seed": [1, 2]}, 40)
    key = "objective.retain_weight"
    assert [trial[key] for trial in fewer] == [trial[key] for trial in trials]
    assert drawn(SPACE, 5, seed=43) != trials[:5]


def test_tpe_leans_to_what_went_well() -> None:
    space = read_space({"training.learning_rate": {"low": 0.0, "high": 1.0}})
    study = optuna.create_study(sampler=ByNumber("tpe", 0), direction="maximize")
    for _ in range(30):
        trial = study.ask()
        space.keys["training.learning_rate"].draw("training.learning_rate", trial)
        study.tell(trial, -abs(trial.params["training.learning_rate"] - 0.8))
    values = [trial.params["training.learning_rate"] for trial in study.trials]
    first, last = (sum(abs(value - 0.8) for value in part) / 10 for part in (values[:10], values[20:]))
    assert last < first / 2


def test_every_mistake_of_a_space_comes_at_once() -> None:
    assert problems(
        {
            "training.learning_rate": {"low": 1e-2, "high": 1e-4},
            "adapter.rank": {"low": 1.5, "high": 4, "int": True},
            "objective.beta": {"low": 0, "high": 1, "log": True},
            "training.epochs": {"low": 1, "high": 6, "step": 2},
            "objective.forget": [],
            "seed": [1, 1],
            "name": ["a", "b"],
            "training.warmup": "10%",
            "importance.samples": {"low": 1, "hihg": 3},
        }
    ) == [
        "space: training.learning_rate: low is not less than high.",
        "space: adapter.rank: with int, low, high and step are whole numbers.",
        "space: objective.beta: log needs a low above 0, and no step.",
        "space: training.epochs: high is not a number of steps above low.",
        "space: objective.forget: the list is empty or names a value twice.",
        "space: seed: the list is empty or names a value twice.",
        "space: name: each trial gets its own.",
        "space: training.warmup: '10%' is no range and no list.",
        "space: importance.samples: 'high' is missing.",
        "space: importance.samples: a range has no 'hihg'.",
    ]


@pytest.mark.parametrize("content", [{}, [], "", None, [{"seed": 1}, {"training.epochs": 2}], [1, 2]])
def test_what_is_no_space_is_said(tmp_path: Path, content: Any) -> None:
    file = tmp_path / "space.yaml"
    file.write_text("" if content is None else repr(content))
    assert len(problems(file)) == 1


def test_values_that_the_recipe_refuses_are_all_named_at_the_space(recipe: dict) -> None:
    space = {
        "training.learning_rate": {"low": -1.0, "high": 1e-2},
        "training.epochs": {"low": 1.0, "high": 4.0},
        "objective.forget": ["ihl", "npoo"],
        "adapter.rnk": [1, 2],
    }
    with pytest.raises(InputError) as caught:
        Searched("recipe", recipe, read_space(space)).check()
    found = {problem.where: str(problem) for problem in caught.value.problems}
    assert found.keys() == {f"space: {key}" for key in space}
    assert "Did you mean 'rank'" in found["space: adapter.rnk"]
    assert "'npo'" in found["space: objective.forget"]
    assert "integer" in found["space: training.epochs"]


def test_values_that_data_and_model_refuse_are_named_at_the_space(recipe: dict) -> None:
    space = {
        "adapter.rank": {"low": 2, "high": 400, "int": True},
        "data.retain": [recipe["data"]["retain"], "no.jsonl"],
    }
    with pytest.raises(InputError) as caught:
        Searched("recipe", recipe, read_space(space)).check()
    assert [problem.where for problem in caught.value.problems] == [
        "space: adapter.rank",
        "space: data.retain",
    ]


def test_a_mistake_of_the_recipe_is_one_of_the_recipe(recipe: dict) -> None:
    recipe["training"]["batch_size"] = 0
    with pytest.raises(InputError) as caught:
        Searched("recipe", recipe, read_space({"seed": [1, 2]})).check()
    assert [problem.where for problem in caught.value.problems] == ["recipe: training.batch_size"]


def test_losses_with_different_aims_are_not_compared(recipe: dict) -> None:
    space = read_space({"objective.forget": ["ihl", "idk"]})
    with pytest.raises(InputError, match="cannot be compared"):
        Searched("recipe", recipe, space).check()


def test_listed_trials_are_those_of_the_list() -> None:
    listed = [{"seed": 1, "adapter.targets": ["q_proj"]}, {"seed": 1, "adapter.targets": "all-linear"}]
    space = read_space(listed)
    assert list(space.corners()) == listed
    assert [space.drawn(space.parameters(number)) for number in range(2)] == listed


def test_a_section_is_set_before_a_key_within_it() -> None:
    """Whichever the space names first."""
    content = {"model": {"path": "m"}, "data": {"format": "tofu", "path": "d"}}
    space = read_space({"objective.beta": [0.25, 0.5], "objective": ["npo", "dpo"]})
    objective = (
        Searched("recipe", content, space).recipe({"objective.beta": 0.25, "objective": "npo"}).objective
    )
    assert (objective.forget, objective.hyperparameters["beta"]) == ("npo", 0.25)


def test_a_value_that_json_does_not_know_is_drawn_by_its_words() -> None:
    space = read_space({"data.forget": [date(2026, 1, 1), ["b"]]})
    study = optuna.create_study(sampler=ByNumber("random", 1))
    trial = study.ask()
    space.keys["data.forget"].draw("data.forget", trial)
    assert space.drawn(trial.params)["data.forget"] in (date(2026, 1, 1), ["b"])
