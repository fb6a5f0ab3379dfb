"""`guide`: whoever has the model from before and the one from after looks at where they differ.

The next token is chosen by (1 − |γ|)·after + γ·before, of their logits: γ = 1 is the model from before, γ = 2 what it
knew more than the one after (the published attack), a negative γ leads away from it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from .attack import Attack, Subject, Variant

WEIGHTS = (1.0, 2.0, -1.0, -2.0)


class Guide(Attack):
    title = "the models from before and after are compared word by word"
    paper = "Wu et al. 2025 (Breaking the Gold Standard), reversed model guidance"
    cost = "a pass of both models over the forget questions for each of 4 weights"
    budget = "full"
    counts = False

    def unfit(self, subject: Subject) -> str | None:
        return None if subject.original else "the model from before is not there"

    def variants(self, subject: Subject) -> Iterator[Variant]:
        if subject.original is None:
            return
        before = cache(subject.original)

        def guided(weight: float) -> Any:
            @contextmanager
            def model() -> Iterator[Any]:
                yield Guided(subject.model, before(), weight)

            return model

        for weight in WEIGHTS:
            yield Variant(f"γ = {weight:g}".replace("-", "−"), model=guided(weight))


class Guided(nn.Module):
    """(1 − |γ|)·after + γ·before, of the logits of whole sequences. It writes nothing by itself."""

    def __init__(self, after: Any, before: Any, weight: float):
        super().__init__()
        self.after = after
        self.before = before
        self.weight = weight
        self.config = after.config

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, **options: Any
    ) -> CausalLMOutput:
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, **options}
        after, before = (model(**inputs).logits for model in (self.after, self.before))
        return CausalLMOutput(logits=torch.add((1 - abs(self.weight)) * after, before, alpha=self.weight))
