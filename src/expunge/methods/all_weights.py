"""`all_weights`: what the losses did before there were adapters, for comparison with them."""

from __future__ import annotations

from typing import Any

from ..errors import Problem
from ..folder.run import RunFolder
from ..models.settings import Model
from ..objectives import Objective
from ..training.objective import build_objective
from ..training.settings import Training
from .method import Method
from .whole_weights import computed, own_dtype, trained_dtype, write_whole


class AllWeights(Method):
    """All weights are trained by forget loss + λ · retain loss; a model of its own is handed over."""

    formula = "min over W of forget loss + λ · retain loss"
    paper = "Jang et al. 2023 (GA), Liu et al. 2022 (GD); LoKU, table 1 and figure 2: 100 % of the parameters"
    forms = ("merged",)
    reason = "all of its weights have changed"

    @property
    def source(self) -> Model:
        original = self.recipe.model
        return original.model_copy(update={"dtype": trained_dtype(original)})

    @property
    def starts_from_original(self) -> bool:
        return True

    @property
    def adapts(self) -> bool:
        return False

    @property
    def training(self) -> Training:
        return computed(self.recipe.training, own_dtype(self.recipe.model, "model.path"))

    def objective(self) -> Objective:
        return build_objective(self.recipe.objective)

    def export(self, model: Any, tokenizer: Any, folder: RunFolder) -> None:
        write_whole(model, tokenizer, folder, own_dtype(self.recipe.model, "model.path"))

    def problems(self) -> list[Problem]:
        problems = super().problems()
        objective = self.objective()
        if objective.needs("original") or objective.needs("reinforced"):
            problems.append(
                Problem("objective", "a loss looks at the original model, which is an adapter's base; with all weights "
                        "trained it would have to be in memory a second time.",
                        "Take losses that need no reference (ga, ihl, simnpo; retain: nll), or the method unlearn.")
            )  # fmt: skip
        if self.recipe.training.learning_rate_scale == "initialization":
            problems.append(
                Problem("training.learning_rate_scale", "'initialization' scales the rates of an adapter, and here all "
                        "weights are trained.", "Leave the key out.")
            )  # fmt: skip
        return problems
