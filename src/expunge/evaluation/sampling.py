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

#: Tokens of the first round; every later one doubles what is there. Short samples do not wait for long ones.
FIRST_ROUND = 64


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
    written = [Continuation([], ended=False) for _ in prompts]
    still_open = [row for row, limit in enumerate(limits) if limit > 0]
    tokens, round_length = 0, FIRST_ROUND
    while still_open:
        round_length = min(round_length, max(limits[row] for row in still_open) - tokens)
        more = continuations(
            model,
            tokenizer,
            [[*prompts[row], *written[row].ids] for row in still_open],
            round_length,
            tokens_per_batch,
            description,
            choice=_Draws([numbers[row][tokens : tokens + round_length] for row in still_open], temperature),
            stops=stops,
        )
        for row, (ids, ended) in zip(still_open, more, strict=True):
            room = limits[row] - tokens
            written[row] = Continuation([*written[row].ids, *ids[:room]], ended and len(ids) < room)
        tokens = round_length = tokens + round_length
        still_open = [row for row in still_open if not written[row].ended and limits[row] > tokens]
    return written


class _Draws:
    """A round's random numbers; a batch takes those of its prompts."""

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
