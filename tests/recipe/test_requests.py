"""A recipe with a list of forget sets: what each request's own recipe is, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from expunge.errors import InputError
from expunge.recipe import Recipe
from expunge.recipe.requests import Requests, load_requests


def tofu(**data: Any) -> dict[str, Any]:
    return {
        "model": {"path": "org/model", "adapters": ["earlier"]},
        "data": {"format": "tofu", "path": "tofu", "forget": ["first", "second"], "retain": "kept", **data},
        "export": ["adapter", "merged"],
        "output": "runs/{name}",
        "name": "case",
    }


def problems(source: Any, *overrides: str) -> list[tuple[str, str]]:
    with pytest.raises(InputError) as refused:
        load_requests(source, overrides)
    return [(problem.where, problem.reason) for problem in refused.value.problems]


def test_each_request_is_a_recipe_with_a_folder_of_its_own() -> None:
    requests = load_requests(tofu(), ["seed=7"])
    assert isinstance(requests, Requests)
    assert requests.forget == ("first", "second")
    assert requests.output == Path("runs/case")
    assert [recipe.data.forget for recipe in requests.recipes] == ["first", "second"]
    assert [recipe.output_folder for recipe in requests.recipes] == [
        "runs/case/requests/1",
        "runs/case/requests/2",
    ]
    assert [recipe.run_name for recipe in requests.recipes] == ["case-1", "case-2"]
    # The merged model is that of all requests.
    assert requests.whole.export == ["adapter", "merged"]
    assert all(recipe.export == ["adapter"] for recipe in requests.recipes)
    assert all(recipe.seed == 7 and recipe.model.adapters == ["earlier"] for recipe in requests.recipes)


def test_one_forget_set_is_a_recipe() -> None:
    assert isinstance(load_requests(tofu(forget="first")), Recipe)


def test_a_list_may_come_by_an_override() -> None:
    requests = load_requests(tofu(forget="first"), ["data.forget=[second, third]"])
    assert isinstance(requests, Requests)
    assert requests.forget == ("second", "third")


@pytest.mark.parametrize(
    "data",
    [
        tofu()["data"],
        {"format": "tdec", "path": "sequences.npy", "forget": [0, 1, 3], "retain": "wiki.txt"},
        {"format": "muse", "path": "muse", "forget": ["sust/forget_1", "sust/forget_2"]},
        {"forget": ["a.jsonl", "b.jsonl"], "retain": "r.jsonl"},
    ],
)
def test_what_is_written_down_reads_as_the_same_requests(data: dict[str, Any], tmp_path: Path) -> None:
    requests = load_requests({"model": {"path": "org/model"}, "data": data, "name": "case"})
    assert isinstance(requests, Requests)
    (tmp_path / "recipe.yaml").write_text(requests.dump())
    assert yaml.safe_load(requests.dump())["data"]["forget"] == data["forget"]
    assert load_requests(tmp_path / "recipe.yaml") == requests


def test_an_empty_list() -> None:
    assert problems(tofu(forget=[])) == [("recipe: data.forget", "the list is empty.")]


def test_a_set_that_is_named_twice_and_every_other_mistake_at_once(tmp_path: Path) -> None:
    (tmp_path / "log.json").write_text("{}")
    source = tofu(forget=["first", 3, "first"], retain=None)
    source["evaluation"] = {"before": "before.json", "reference": str(tmp_path / "log.json")}
    assert problems(source) == [
        ("recipe: data.forget", "'first' is in the list 2 times."),
        ("recipe: data.forget", "the value 3 does not fit: input should be a valid string."),
        ("recipe: evaluation.before", "'before.json' is a log of one forget set, and there are several."),
        (
            "recipe: evaluation.reference",
            f"{str(tmp_path / 'log.json')!r} is a log of one forget set, and there are several.",
        ),
        ("recipe: data.retain", "which split to keep cannot be told from several forget sets."),
    ]


def test_a_mistake_that_every_request_shares_is_named_once() -> None:
    (problem,) = problems(tofu(), "training.learning_rate=-1")
    assert problem[0] == "recipe: training.learning_rate"


def test_adapters_are_not_added_to_quantised_weights() -> None:
    source = tofu(forget="first")
    source["model"]["quantization"] = "4bit"
    source["export"] = ["adapter"]
    (problem,) = problems(source)
    assert problem == ("recipe: model", "adapters cannot be added to weights that are quantised to 4bit.")
