"""`unlearn`: what LoKU, VILA and all the losses do."""

from __future__ import annotations

from ..objectives import Objective
from ..training.objective import build_objective
from .method import Method


class Unlearn(Method):
    """An adapter is trained by forget loss + λ · retain loss."""

    formula = "min over A, B of forget loss + λ · retain loss; W + s·BA − s·B₀A₀"
    paper = "LoKU, VILA, and the papers of the losses"

    shards = True

    @property
    def finds_rate(self) -> bool:
        return self.recipe.training.learning_rate == "auto"

    def objective(self) -> Objective:
        return build_objective(self.recipe.objective)
