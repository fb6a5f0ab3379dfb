"""`merge`: the weights are kept in half precision, in which a small change may be lost.

An adapter is computed beside its base; merged, it is added to weights whose last bit may be greater than the change.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..models.half_precision import passing_in
from .attack import Attack, Subject, Variant
from .weights import replaced


class Merge(Attack):
    title = "the adapter is merged into weights of 16 bits"
    paper = "none; what `--to merged` does to a base in bf16"
    cost = "a pass over the forget questions"

    def variants(self, subject: Subject) -> Iterator[Variant]:
        yield Variant("bf16", model=partial(_kept_in_bf16, subject.model))


@contextmanager
def _kept_in_bf16(model: Any) -> Iterator[Any]:
    """Passed in fp32: in bf16 every pass rounds the weights, so nothing could be lost by it."""
    with passing_in("fp32"), replaced(model, _in_bf16) as rounded:
        yield rounded


def _in_bf16(_: str, weight: Tensor) -> Tensor:
    return weight.to(torch.bfloat16)
