"""A forward pass of which only the answer positions reach the output embedding.

Everything that needs probabilities (importance, losses, evaluation) goes through `answer_tokens`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from ..data.encoding import IGNORED


@dataclass(frozen=True)
class AnswerTokens:
    """The predicted tokens of a batch, flattened over its sequences.

    logits:    (N, V), the model's dtype, for the N label tokens in reading order
    targets:   (N,) int64, the true tokens
    sequence:  (N,) int64, the row of the batch that a token belongs to
    sequences: number of rows, those without any label included
    """

    logits: Tensor
    targets: Tensor
    sequence: Tensor
    sequences: int

    @cached_property
    def log_normaliser(self) -> Tensor:
        """log Σ_v exp(y_v), (N,) fp32."""
        return torch.logsumexp(self.logits.float(), dim=-1)

    @cached_property
    def log_probability(self) -> Tensor:
        """log p(x_t | x_<t), (N,) fp32."""
        return self.logits.gather(-1, self.targets[:, None]).squeeze(-1).float() - self.log_normaliser

    @cached_property
    def best_other_log_probability(self) -> Tensor:
        """max over v ≠ x_t of log p(v | x_<t), (N,) fp32: no one-hot and no softmax matrix is formed."""
        best = self.logits.topk(2, dim=-1)
        is_target = best.indices[:, 0] == self.targets
        return torch.where(is_target, best.values[:, 1], best.values[:, 0]).float() - self.log_normaliser

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
        return AnswerTokens(self.logits[part], self.targets[part], self.sequence[part] - start, stop - start)


def answer_tokens(model: Any, batch: Mapping[str, Tensor]) -> AnswerTokens:
    """Run `model` on `input_ids`, `attention_mask` and `labels`, each (batch, length).

    The model must take `logits_to_keep` as a boolean mask, as the causal LMs of transformers 5 do.
    """
    labels = batch["labels"]
    predicted = torch.zeros_like(labels, dtype=torch.bool)
    predicted[:, :-1] = labels[:, 1:] != IGNORED  # the token at t is predicted at position t − 1
    logits = model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        logits_to_keep=predicted,
        use_cache=False,
    ).logits
    targets = labels[:, 1:][predicted[:, :-1]]
    sequence = predicted.nonzero()[:, 0]
    return AnswerTokens(logits.reshape(-1, logits.shape[-1]), targets, sequence, len(labels))
