"""The recipe's `objective`: what is out of a loss's range, of another kind, or of no use is refused before any work."""

from __future__ import annotations

from typing import Any

import pytest

from expunge.errors import InputError
from expunge.methods.catalogue import catalogue
from expunge.objectives import forget_losses
from expunge.recipe import load_recipe

WITHOUT = {"model": {"path": "m"}, "data": {"format": "tofu", "path": "d"}}


def sentence(objective: Any) -> str:
    with pytest.raises(InputError) as caught:
        load_recipe({**WITHOUT, "objective": objective})
    return str(caught.value)


def accepted(objective: Any) -> dict[str, float]:
    return load_recipe({**WITHOUT, "objective": objective}).objective.hyperparameters


@pytest.mark.parametrize("forget", ["npo", "simnpo", "dpo", "altpo", "undial"])
@pytest.mark.parametrize("beta", [0, -1, "-1e-3"])
def test_beta_divides_or_gives_the_sign(forget: str, beta: Any) -> None:
    said = sentence({"forget": forget, "beta": beta})
    assert said.startswith(f"recipe: objective.beta: the value {beta!r} does not fit")
    assert "greater than 0" in said
    assert accepted({"forget": forget, "beta": "1e-3"})["beta"] == 0.001


def test_other_ranges() -> None:
    assert "greater than 0" in sentence({"forget": "whp", "alpha": 0})
    assert "greater than or equal to 0" in sentence({"forget": "wga", "beta": -0.5})
    assert accepted({"forget": "wga", "beta": 0}) == {"beta": 0.0}  # plain ascent
    said = sentence({"forget": "satimp", "beta": -1, "beta2": -2})  # both at once
    assert "objective.beta:" in said
    assert "objective.beta2:" in said
    assert accepted({"forget": "simnpo", "gamma": -0.5}) == {"beta": 2.5, "gamma": -0.5}


def test_a_layer_is_a_whole_number() -> None:
    for layer in (1.5, -1):
        assert sentence({"forget": "rmu", "layer": layer}).startswith(
            f"recipe: objective.layer: the value {layer}"
        )
    assert "objective.layer" in sentence({"forget": "ga", "retain": "rmu", "layer": 1.5})
    for layer in (3, 3.0, "3"):
        assert accepted({"forget": "rmu", "layer": layer})["layer"] == 3


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), "-inf", True, False, None, [1], "high", 10**400]
)
@pytest.mark.parametrize("key", ["beta", "beta2", "gamma", "layer", "steering", "alpha"])
def test_what_is_no_number_is_none_for_any_loss(key: str, value: Any) -> None:
    """Used or not: a sweep over losses may name what one of them does not use."""
    using = next(name for name, loss in forget_losses.items() if key in loss.hyperparameters)
    for forget in (using, "ihl"):
        assert f"{key} is {value!r}, which is no number" in sentence({"forget": forget, key: value})


def test_defaults_are_within_their_own_ranges() -> None:
    for name, loss in forget_losses.items():
        assert accepted({"forget": name, "retain": "kl"}) == loss.hyperparameters
        assert accepted({"forget": name, "retain": "kl", **loss.hyperparameters}) == loss.hyperparameters


@pytest.mark.parametrize("given", [["ga"], {"a": 1}, None, 3])
def test_a_loss_is_named_by_a_text(given: Any) -> None:
    assert "recipe: objective.forget: the value" in sentence({"forget": given})


def test_substitutes_that_no_loss_uses_are_refused() -> None:
    said = sentence({"forget": "ihl", "substitutes": "nofile.txt"})
    assert "substitutes is 'nofile.txt', but ihl uses no substitutes" in said
    assert all(name in said for name in ("idk", "dpo", "altpo"))
    load_recipe({**WITHOUT, "objective": {"forget": "dpo", "substitutes": "refusals.txt"}})


def test_presets_are_shown_with_the_papers_of_both_losses() -> None:
    shown = {entry["name"]: entry["paper"] for entry in catalogue()["presets (objective)"]}
    assert shown["kl"] == "Jang et al. 2023; TOFU (Maini et al. 2024)"
    assert shown["gd"].startswith("Jang et al. 2023; Liu et al. 2022")
    assert shown["rmu"] == forget_losses["rmu"].paper
