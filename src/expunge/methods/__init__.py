"""The methods of unlearning. A new method is one file here, named below, and its section in `recipe/methods.py`."""

from __future__ import annotations

from ..recipe import Recipe
from .all_weights import AllWeights
from .logit_difference import LogitDifference
from .method import Method
from .retrain import Retrain
from .task_arithmetic import TaskArithmetic
from .unlearn import Unlearn

METHODS: dict[str, type[Method]] = {
    "unlearn": Unlearn,
    "all_weights": AllWeights,
    "task_arithmetic": TaskArithmetic,
    "retrain": Retrain,
    "uld": LogitDifference,
}


def method_of(recipe: Recipe) -> Method:
    """The method that the recipe names."""
    return METHODS[recipe.method.name](recipe)


__all__ = ["METHODS", "Method", "method_of"]
