"""`retrain`: exact unlearning. A model need not forget samples that it never saw."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from ..adapters.export import export_adapter
from ..adapters.loading import write_merged
from ..errors import InputError, Problem
from ..folder.run import RunFolder
from ..models.loadable import check_loadable
from ..models.loading import load_config
from ..models.settings import Model
from ..objectives import Objective, Term, retain_losses
from ..recipe import methods
from ..training.selection import Candidate, Choice
from ..training.settings import Training
from .method import Method
from .whole_weights import computed, own_dtype, trained_dtype, write_whole


class Retrain(Method):
    """The model from which the original was made is finetuned on the retain set alone."""

    formula = "min over W of −log p on the retain set, from the weights before the original's finetuning"
    paper = "TOFU (Maini et al. 2024): the retain model, the reference of Forget Quality"
    published = "TOFU, LoKU: all weights, 5 epochs, learning rate 2e-5 (Phi-1.5), 1e-5 (Llama-2-7B)"
    forms = ("merged",)
    reason = "its weights are not the original's with a change, but another model's"

    @property
    def settings(self) -> methods.Retrain:
        assert isinstance(self.recipe.method, methods.Retrain)
        return self.recipe.method

    @property
    def source(self) -> Model:
        original, settings = self.recipe.model, self.settings
        return Model(
            path=settings.base,
            revision=settings.revision,
            dtype=trained_dtype(original) if settings.weights == "all" else original.dtype,
            trust_remote_code=original.trust_remote_code,
        )

    @property
    def training(self) -> Training:
        given = self.recipe.training
        return given if self.adapts else computed(given, own_dtype(self.source, "method.base"))

    @property
    def adapts(self) -> bool:
        return self.settings.weights == "adapter"

    def objective(self) -> Objective:
        return Objective([Term(retain_losses["nll"], "retain")])

    def choose(self, candidates: Sequence[Candidate], original_utility: float, resolution: float) -> Choice:
        """The epoch with the highest utility, the last of equals, unless the recipe asks for the last: none of them
        has seen the forget set."""
        if self.recipe.stopping.choose == "last":
            return super().choose(candidates, original_utility, resolution)
        if math.isnan(candidates[-1].utility):
            return Choice(candidates[-1].epoch, qualified=True)
        best = max(candidates, key=lambda candidate: (candidate.utility, candidate.epoch))
        return Choice(best.epoch, qualified=best.qualifies(original_utility))

    def export(self, model: Any, tokenizer: Any, folder: RunFolder) -> None:
        """Write the model as a whole, in its checkpoint's dtype."""
        if self.adapts:
            with TemporaryDirectory() as temporary:
                adapter = export_adapter(model, Path(temporary) / "adapter", base_name=self.source.path)
                write_merged(self.source, tokenizer, adapter, folder.merged)
            return
        write_whole(model, tokenizer, folder, own_dtype(self.source, "method.base"))

    def problems(self) -> list[Problem]:
        problems = super().problems()
        if self.recipe.data.retains_itself:
            problems.append(
                Problem("data.retain", "samples of the model that is to forget are not the data that it was trained "
                        "on: what they carry of the forget set would be learned anew.",
                        "Name a retain set of your own.")
            )  # fmt: skip
        original, settings, training = self.recipe.model, self.settings, self.recipe.training
        if (settings.base, settings.revision) == (original.path, original.revision):
            problems.append(
                Problem("method.base", f"{settings.base!r} is the model that is to forget; trained further, it would "
                        "still know the forget set.", "Name the model from which it was made.")
            )  # fmt: skip
        if not self.adapts and training.learning_rate_scale == "initialization":
            problems.append(
                Problem("training.learning_rate_scale", "'initialization' scales the rates of an adapter, and here all "
                        "weights are trained.", "Leave the key out.")
            )  # fmt: skip
        try:
            check_loadable(self.source, "method.base")
        except InputError as error:
            return [*problems, *error.problems]
        try:
            forgets = load_config(original)
        except InputError:
            return problems  # another check tells that the original is missing
        base = load_config(self.source, "method.base")
        if _kind(base) != _kind(forgets):
            problems.append(
                Problem("method.base", f"it is {_kind(base)}, but the model that is to forget is {_kind(forgets)}.",
                        "Name the model from which it was made.")
            )  # fmt: skip
        return problems


def _kind(config: Any) -> str:
    return f"a {config.model_type} with {config.get_text_config().vocab_size} tokens"
