"""`uld`: unlearning from logit difference. An assistant learns what must go; decoding goes away from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..adapters.assistant import AssistedModel, first_blocks, save_assistant
from ..adapters.weights import WEIGHTS_FILE
from ..errors import Problem
from ..folder.run import RunFolder
from ..models.token_statistics import cross_entropy
from ..objectives import Objective, Outputs, Term, Weight, retain_losses
from ..objectives.loss import Loss
from ..recipe import methods
from .method import Method


def uniformity(outputs: Outputs) -> Tensor:
    """Cross entropy of the uniform distribution with the model's, −(1/V) Σ_v log p(v), (N,) fp32."""
    logits = outputs.tokens.logits
    uniform = torch.full((1, 1), 1 / logits.shape[-1], device=logits.device).expand_as(logits)
    return cross_entropy(logits, uniform)


UNIFORM = Loss(uniformity, "token", formula="−(1/V) Σ_v log p(v)", paper="Ji et al. 2024 (ULD), eq. 5")


class LogitDifference(Method):
    """The assistant's adapter is trained to know the forget set and to be uniform on the retain set."""

    formula = "logits_base − offset_weight · logits_assistant; the assistant: the first blocks, with a LoRA"
    paper = "Ji et al. 2024, NeurIPS (ULD)"
    published = (
        "LoRA rank 32, α 32, 8 blocks, batch 32, learning rate 1e-3, weight decay 0.01, retain_weight 6.5; TOFU: "
        "10 epochs, offset_weight 0.75; Harry Potter: learning rate 5e-4, 5 epochs, offset_weight 0.5. The paper adds "
        "paraphrases to the forget set and wrong answers to the retain set (in the recipe: files of one's own), and "
        "drops tokens under 0.01 of the best one's probability, which is not done here"
    )
    forms = ("assistant",)
    reason = "what changes is the decoding; the weights stay the original's"

    @property
    def settings(self) -> methods.LogitDifference:
        assert isinstance(self.recipe.method, methods.LogitDifference)
        return self.recipe.method

    def objective(self) -> Objective:
        learned = Term(retain_losses["nll"], "forget")
        return Objective([learned, Term(UNIFORM, "retain", Weight(self.settings.retain_weight))])

    def part(self, model: Any) -> Any:
        return first_blocks(model, self.settings.layers)

    @contextmanager
    def handed_over(self, original: Any, trained: Any) -> Iterator[Any]:
        yield AssistedModel(original, trained, self.settings.offset_weight)

    def export(self, model: Any, tokenizer: Any, folder: RunFolder) -> int | None:
        base = self.recipe.model
        save_assistant(model, folder.assistant, base_name=base.path, revision=base.revision)
        return (folder.assistant / "adapter" / WEIGHTS_FILE).stat().st_size

    def problems(self) -> list[Problem]:
        problems = super().problems()
        if self.recipe.model.adapters:
            problems.append(
                Problem("model.adapters", "the assistant is loaded beside one checkpoint, not beside adapters.",
                        "Merge them first: expunge export … --to merged.")
            )  # fmt: skip
        return problems
