"""A recipe says what its reader reads: YAML that its parser takes otherwise is refused with a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge.errors import InputError
from expunge.recipe import load_recipe

START = "model: {path: m}\ndata: {format: qa, forget: f.jsonl}\n"


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ("seed: 010\n", "line 3, column 7: '010' is another number in YAML, of base 60 or 8"),
        ("seed: 1:30\n", "line 3, column 7: '1:30' is another number in YAML"),
        ("name: 190:20:30.15\n", "'190:20:30.15' is another number in YAML"),
        ("seed: 1\nseed: 2\n", "line 4, column 1: the key 'seed' stands twice"),
        ("training: {epochs: 3, epochs: 4}\n", "line 3, column 23: the key 'epochs' stands twice"),
        ("1: x\n", "a key is no text"),
        ("? [a]\n: b\n", "a key is no text"),
        (f"seed: {'9' * 6000}\n", "a number of 6,000 characters is too long"),
        (f"x: {'[' * 9000}{']' * 9000}\n", "nested too deeply"),
        ("name: 2024-13-45\n", "a value is none of its kind"),
    ],
)
def test_yaml_that_says_two_things(tmp_path: Path, more: str, reason: str) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(START + more)
    with pytest.raises(InputError) as caught:
        load_recipe(file)
    assert f"{file}: it is not valid YAML: " in str(caught.value)
    assert reason in str(caught.value)


def test_yaml_that_says_one_thing(tmp_path: Path) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(START + "seed: 0x10\nname: '010'\ntraining: &t {learning_rate: .5, epochs: 1_0}\n")
    recipe = load_recipe(file)
    assert (recipe.seed, recipe.name, recipe.training.learning_rate, recipe.training.epochs) == (
        16,
        "010",
        0.5,
        10,
    )


@pytest.mark.parametrize("override", ["seed=010", "seed=1:30", f"seed={'9' * 6000}", f"name={'[' * 9000}"])
def test_overrides_say_one_thing_too(override: str) -> None:
    content = {"model": {"path": "m"}, "data": {"format": "qa", "forget": "f.jsonl"}}
    with pytest.raises(InputError, match=r"Write it in one way"):
        load_recipe(content, [override])
    assert load_recipe(content, ["name=a: b: c"]).name == "a: b: c"


@pytest.mark.parametrize("key", ["fine-tune", "", "a b"])
def test_an_unknown_key_may_be_any_text(key: str) -> None:
    content = {"model": {"path": "m"}, "data": {"format": "qa", "forget": "f.jsonl"}, key: 3}
    with pytest.raises(InputError, match=f"recipe: {key}: there is no such key"):
        load_recipe(content)


def test_a_name_that_is_too_long() -> None:
    with pytest.raises(InputError, match="there is no such file"):
        load_recipe("a" * 5000)
