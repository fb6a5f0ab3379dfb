"""Texts that a model writes of its own accord: sampled from its whole distribution (top-p 1), at a temperature.

Every sample has random numbers of its own, one a token, so it is the same whatever else is in its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

from .generation import Continuation, continuations


def sampled_continuations(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[Sequence[int]],
    limits: Sequence[int],
    tokens_per_batch: int = 32768,
    description: str = "Sampling",
    stops: Sequence[int] = (),
    temperature: float = 1.0,
) -> list[Continuation]:
    """One sample for every prompt (token ids), in the order given.

    seeds:  of every prompt, non-negative integers; the same prompt and seed give the same sample, but for rounding
    limits: of every prompt, the most tokens to write
    stops:  token ids that end a sample, beside the end-of-sequence tokens of the model and the tokenizer
    temperature: above 0; what the logits are divided by

    For the other arguments, and several processes, see `continuations`.
    """
    numbers = [
        np.random.default_rng(list(seed)).random(max(0, limit), dtype=np.float32)
        for seed, limit in zip(seeds, limits, strict=True)
    ]
    return continuations(
        model,
        tokenizer,
        prompts,
        limits,
        tokens_per_batch,
        description,
        choice=_Draws(numbers, temperature),
        stops=stops,
    )


class _Draws:
    """The random numbers of all prompts; a batch takes those of its own."""

    def __init__(self, numbers: Sequence[np.ndarray], temperature: float):
        self.numbers = numbers
        self.temperature = temperature

    def __call__(self, indices: list[int], width: int) -> InverseTransform:
        longest = max(len(self.numbers[index]) for index in indices)
        rows = np.zeros((len(indices), longest), np.float32)
        for row, index in zip(rows, indices, strict=True):
            row[: len(self.numbers[index])] = self.numbers[index]
        return InverseTransform(torch.from_numpy(rows), width, self.temperature)


class InverseTransform(LogitsProcessor):
    """Leaves one token its logit: the first whose cumulative probability exceeds the row's random number.

    numbers: (batch, steps) in [0, 1), one a generated token
    width:   tokens of the prompts, padding included; they tell the step
    temperature: what the logits are divided by
    """

    def __init__(self, numbers: Tensor, width: int, temperature: float = 1.0):
        self.numbers = numbers
        self.width = width
        self.temperature = temperature

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self.width
        number = self.numbers[:, step : step + 1].to(scores)
        cumulative = (scores.float() / self.temperature).softmax(-1).cumsum(-1)
        # The sum is 1 but for rounding. A token without probability adds nothing, so it is never the first above.
        token = torch.searchsorted(cumulative, number * cumulative[:, -1:], right=True)
        token = token.clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter_(1, token, 0.0)
