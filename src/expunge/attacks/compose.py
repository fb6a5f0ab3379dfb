"""`compose`: another adapter is at work together with the one that forgets, as users stack them.

The other one is a random change of rank 8 in every linear layer: what a strange adapter does to this one, whatever it
was trained for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from .attack import Attack, Subject, Variant
from .weights import replaced

RANK = 8
#: ‖change‖_F as a share of ‖W‖_F in every layer; finetuning by LoRA makes changes of this order.
SIZES = (0.01, 0.03)


class Compose(Attack):
    title = "another adapter is put on top"
    paper = "none"
    cost = "a pass over the forget questions for each of 2 sizes of the other adapter"

    def variants(self, subject: Subject) -> Iterator[Variant]:
        for size in SIZES:
            yield Variant(f"{size:.0%} of the weights", model=partial(self._with_other, subject, size))

    @staticmethod
    def _with_other(subject: Subject, size: float) -> AbstractContextManager[Any]:
        generator = torch.Generator().manual_seed(subject.seed)

        def change(_: str, weight: Tensor) -> Tensor:
            B, A = (torch.randn(side, RANK, generator=generator).to(weight) for side in weight.shape)
            other = B @ A.T
            return weight + size * weight.norm() / other.norm() * other

        return replaced(subject.model, change)
