"""`merge`: the weights are kept in half precision, in which a small change may be lost.

An adapter is computed beside its base; merged, it is added to weights whose last bit may be greater than the change.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from .attack import Attack, Subject, Variant
from .weights import replaced


class Merge(Attack):
    title = "the adapter is merged into weights of 16 bits"
    paper = "none; what `--to merged` does to a base in bf16"
    cost = "a pass over the forget questions"

    def variants(self, subject: Subject) -> Iterator[Variant]:
        yield Variant("bf16", model=partial(replaced, subject.model, _in_bf16))


def _in_bf16(_: str, weight: Tensor) -> Tensor:
    return weight.to(torch.bfloat16)
