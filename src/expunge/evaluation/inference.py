"""Running a model over many sequences, in batches of like length, and leaving it as it was."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from ..models.half_precision import fast_passes
from ..models.modes import evaluating
from ..models.sharding import is_sharded


@contextmanager
def inference(model: Any) -> Iterator[torch.device]:
    """Eval mode without gradients, in bf16 where that is faster; yields the model's device and gives every module its
    mode back."""
    without_gradients = torch.no_grad() if is_sharded(model) else torch.inference_mode()
    with evaluating(model), without_gradients, fast_passes(model):
        yield next(model.parameters()).device


def batches_by_length(lengths: Sequence[int], tokens_per_batch: int, extra: int = 0) -> list[list[int]]:
    """Group indices so that rows × (longest + `extra`) ≤ `tokens_per_batch`, at least one row a batch.

    The longest come first: a batch that does not fit the memory fails at once, not at the end.
    """
    batches: list[list[int]] = []
    room = 0
    for index in sorted(range(len(lengths)), key=lambda index: -lengths[index]):
        if room == 0:
            batches.append([])
            room = max(1, tokens_per_batch // max(1, lengths[index] + extra))
        batches[-1].append(index)
        room -= 1
    return batches
