"""A sweep's recipe and space, checked together before anything is written."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InputError, Problem
from ..models.loading import empty_model
from ..objectives.loss import Aim
from ..recipe import Recipe
from ..recipe.loading import check_recipe, set_key
from ..run.checks import check_adapter, check_objective
from ..run.inputs import Inputs
from .space import Space


@dataclass(frozen=True)
class Searched:
    """A recipe whose keys a space searches.

    where:   what messages call the recipe
    content: what the recipe says, before the values of a trial are put into it
    """

    where: str
    content: Mapping[str, Any]
    space: Space

    def recipe(self, values: Mapping[str, Any], **sections: Mapping[str, Any] | str) -> Recipe:
        """The recipe with these values. sections: further keys, over what a section says; a text replaces it

        Raises `InputError` where the values do not fit; of a searched key it names the space.
        """
        content = copy.deepcopy(dict(self.content))
        for key in sorted(values, key=lambda name: name.count(".")):  # a section before what is in it
            set_key(content, key, values[key])
        for section, keys in sections.items():
            content[section] = {**content.get(section, {}), **keys} if isinstance(keys, Mapping) else keys
        try:
            return check_recipe(self.where, content)
        except InputError as error:
            raise InputError(list(map(self.placed, error.problems))) from None

    def placed(self, problem: Problem) -> Problem:
        """The problem, at the space where it is of a searched key."""
        key = problem.where.removeprefix(f"{self.where}: ").partition(":")[0]
        if any(key == name or key.startswith(f"{name}.") for name in self.space.keys):
            return replace(problem, where=f"{self.space.where}: {key}")
        return problem

    def check(self) -> tuple[Recipe, dict[str, Any]]:
        """The first of the recipes, and what a record says of its inputs.

        Every value, and the corners of the space, are checked as a recipe; values that decide what is loaded also
        against the data and the shapes of the model. Raises `InputError` with all problems at once.
        """
        if isinstance(self.content.get("data"), Mapping) and isinstance(
            self.content["data"].get("forget"), list
        ):
            raise InputError(
                Problem(f"{self.where}: data.forget", "it is a list of requests, and a sweep is of one.",
                        "Name one forget set.")
            )  # fmt: skip
        recipes = _all(self.space.corners(), self.recipe)
        loaded = _all((self.recipe(values) for values in self.space.loaded()), self._load)
        if len({aims for aims, _ in loaded}) > 1:
            raise InputError(
                Problem(self.space.where, "some losses aim at the answers, others at their probabilities: their forget "
                        "scores cannot be compared.", "Make a sweep for each.")
            )  # fmt: skip
        return recipes[0], loaded[0][1]

    def _load(self, recipe: Recipe) -> tuple[Aim, dict[str, Any]]:
        """What the recipe's loss aims at, and the facts about its inputs, once they fit to data and model."""
        try:
            inputs = Inputs(recipe)
            if inputs.method.adapts:
                part = inputs.method.part(empty_model(inputs.method.source))
                check_objective(part, inputs.objective, check_adapter(part, recipe))
        except InputError as error:
            raise InputError(list(map(self.placed, error.problems))) from None
        return inputs.objective.aims, inputs.facts


def _all(items: Iterable[Any], check: Callable[[Any], Any]) -> list[Any]:
    """What `check` gives for every item. Raises `InputError` with the problems of all."""
    found, problems = [], []
    for item in items:
        try:
            found.append(check(item))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    return found
