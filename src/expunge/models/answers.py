"""A forward pass of which only the answer positions reach the output embedding.

Everything that needs probabilities (importance, losses, evaluation) goes through `answer_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from .blocks import block_outputs
from .token_statistics import token_statistics

#: The label of a position where nothing is predicted.
IGNORED = -100


@dataclass(frozen=True)
class AnswerTokens:
    """The predicted tokens of a batch, flattened over its sequences.

    logits:    (N, V), the model's dtype, for the N label tokens in reading order
    targets:   (N,) int64, the true tokens
    sequence:  (N,) int64, the row of the batch that a token belongs to
    sequences: number of rows, those without any label included
    hidden:    (N, d), the hidden states after one block at the positions that predict, where they were asked for
    part_of:   the tokens that these are a part of, and which part
    """

    logits: Tensor
    targets: Tensor
    sequence: Tensor
    sequences: int
    hidden: Tensor | None = None
    part_of: tuple[AnswerTokens, slice] | None = field(default=None, repr=False)

    @cached_property
    def _statistics(self) -> tuple[Tensor, ...]:
        if self.part_of is None:
            return token_statistics(self.logits, self.targets)
        # Of the whole batch at once: its logits then get one gradient, not one per part.
        whole, part = self.part_of
        return tuple(values[part] for values in whole._statistics)

    @property
    def log_normaliser(self) -> Tensor:
        """log Σ_v exp(y_v), (N,) fp32."""
        return self._statistics[0]

    @property
    def log_probability(self) -> Tensor:
        """log p(x_t | x_<t), (N,) fp32."""
        return self._statistics[1]

    @property
    def best_other_log_probability(self) -> Tensor:
        """max over v ≠ x_t of log p(v | x_<t), (N,) fp32."""
        return self._statistics[2]

    @cached_property
    def correct(self) -> Tensor:
        """(N,) bool: whether greedy decoding would have chosen the true token."""
        return self.logits.argmax(dim=-1) == self.targets

    def sum_by_sequence(self, values: Tensor) -> Tensor:
        """Add a value per token (N,) up to one per sequence (sequences,)."""
        return values.new_zeros(self.sequences).index_add(0, self.sequence, values)

    @cached_property
    def token_counts(self) -> Tensor:
        """Label tokens per sequence, (sequences,) int64."""
        return torch.bincount(self.sequence, minlength=self.sequences)

    def rows(self, start: int, stop: int) -> AnswerTokens:
        """The tokens of rows start … stop − 1, renumbered from 0."""
        # Tokens are in reading order, so a range of rows is a range of tokens.
        first, last = torch.searchsorted(
            self.sequence, torch.tensor([start, stop], device=self.sequence.device)
        )
        part = slice(int(first), int(last))
        return AnswerTokens(
            self.logits[part],
            self.targets[part],
            self.sequence[part] - start,
            stop - start,
            None if self.hidden is None else self.hidden[part],
            (self, part),
        )


def answer_tokens(model: Any, batch: Mapping[str, Tensor], hidden_layer: int | None = None) -> AnswerTokens:
    """Run `model` on `input_ids`, `attention_mask` and `labels`, all three (batch, length).

    hidden_layer: also keep the hidden states after this transformer block, counted from 0
    The model must take `logits_to_keep` as a boolean mask, as the causal LMs of transformers 5 do.
    """
    labels = batch["labels"]
    # The token at t is predicted at position t − 1; the last position predicts nothing, so it is left out.
    length = max(labels.shape[1] - 1, 1)
    following = labels[:, 1:] if labels.shape[1] > 1 else torch.full_like(labels, IGNORED)
    predicted = following != IGNORED
    watched: AbstractContextManager[list[Tensor]] = nullcontext([])
    if hidden_layer is not None:
        watched = block_outputs(model, hidden_layer)
    with watched as states:
        logits = model(
            input_ids=batch["input_ids"][:, :length],
            attention_mask=batch["attention_mask"][:, :length],
            logits_to_keep=predicted,
            use_cache=False,
        ).logits
    targets = following[predicted]
    sequence = predicted.nonzero()[:, 0]
    hidden = states[0][predicted] if states else None
    return AnswerTokens(logits.reshape(-1, logits.shape[-1]), targets, sequence, len(labels), hidden)
