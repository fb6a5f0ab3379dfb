"""The likelihood that a model gives to answers: one teacher-forced pass for every metric without generation.

Loss, exact memorisation, extraction strength and what membership inference needs all come from the same logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.encoding import Example, collate
from ..errors import InputError, Problem
from ..models.answers import AnswerTokens, answer_tokens
from ..models.processes import gathered, share
from ..models.window import window_of
from ..progress import track
from .inference import batches_by_length, inference
from .log import Likelihood

#: Label tokens whose distributions are in fp32 at a time, which takes three copies of them.
DISTRIBUTIONS_IN_FP32 = 256

#: The least variance of log p over the vocabulary: at a place that is certain there is none to divide by.
LEAST_VARIANCE = 1e-6

#: A CPU is fastest where the activations of a layer stay in its cache (measured: 2048 took 0.6 of the time of 8192).
TOKENS_PER_BATCH = {"cpu": 2048, "accelerator": 16384}


@dataclass(frozen=True)
class TokenStatistics:
    """Two figures of every label token of an answer, both (T,) fp32.

    log_probability: log p(x_t | x_<t)
    standardised:    (log p(x_t) − μ_t) / σ_t, with mean and deviation of log p(v) over v ~ p(· | x_<t)
                     (Zhang et al. 2024, Min-K%++)
    """

    log_probability: np.ndarray
    standardised: np.ndarray


@dataclass(frozen=True)
class AnswerLoss(Likelihood):
    """A likelihood, and how much of the answer greedy decoding would have got right under teacher forcing.

    correct:  label tokens that are the model's first choice
    strength: extraction strength 1 − k/T (Carlini et al. 2021): k is the shortest prefix of the answer after
              which every first choice is right, T the label tokens; 1 is verbatim, 0 where the last is wrong
    statistics: those of the single tokens, where the caller asked for them
    """

    correct: int
    strength: float
    statistics: TokenStatistics | None = field(default=None, compare=False, repr=False)


def answer_losses(
    model: Any,
    examples: Sequence[Example],
    pad_token_id: int,
    tokens_per_batch: int | None = None,
    description: str | None = None,
    token_statistics: bool = False,
) -> list[AnswerLoss]:
    """Measure every example's answer, in the order given.

    tokens_per_batch: padded tokens in one forward pass; by default what suits the model's device
    description:      shown as progress, nothing is shown without one
    token_statistics: also return the `TokenStatistics` of every answer; the pass then forms every distribution

    Raises `InputError` for a sequence that is longer than the model's window.
    An example without label tokens has loss 0 of 0 tokens, strength 0 and no statistics. The model's modes are kept.
    Several processes share the batches: all must call it alike, and all return every result.
    """
    _check_window(model, examples, description or "evaluation")
    results: dict[int, AnswerLoss] = {}
    labelled = [index for index, example in enumerate(examples) if example.label_count]
    with inference(model) as device:
        limit = tokens_per_batch or TOKENS_PER_BATCH.get(device.type, TOKENS_PER_BATCH["accelerator"])
        batches = share(batches_by_length([len(examples[index]) for index in labelled], limit))
        for rows in track(batches, description) if description else batches:
            indices = [labelled[row] for row in rows]
            batch = collate([examples[index] for index in indices], pad_token_id)
            tokens = answer_tokens(model, {key: value.to(device) for key, value in batch.items()})
            statistics = _statistics(tokens) if token_statistics else [None] * len(rows)
            for index, (loss, count, correct, prefix), known in zip(
                indices, _summaries(tokens), statistics, strict=True
            ):
                results[index] = AnswerLoss(loss, int(count), int(correct), 1.0 - prefix / count, known)
    results = gathered(results)
    return [results.get(index, AnswerLoss(0.0, 0, 0, 0.0)) for index in range(len(examples))]


def _check_window(model: Any, examples: Sequence[Example], where: str) -> None:
    window, longest = window_of(model.config), max(map(len, examples), default=0)
    if longest > window:
        raise InputError(
            Problem(where, f"a sequence of {longest} tokens does not fit into the model's window of {window}.",
                    "Give shorter sequences, or a model with a longer window.")
        )  # fmt: skip


def _summaries(tokens: AnswerTokens) -> list[list[float]]:
    """Per sequence: summed loss, label tokens, hits and k, brought to the host in one copy."""
    correct = tokens.correct
    counts = tokens.token_counts
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(tokens.targets), device=counts.device) - starts[tokens.sequence] + 1
    # k is the place, counted from 1, of the last wrong token: 0 where all are right.
    misses = torch.where(correct, 0, place)
    prefix = torch.zeros_like(counts).scatter_reduce(0, tokens.sequence, misses, "amax")
    columns: list[Tensor] = [
        tokens.sum_by_sequence(-tokens.log_probability),
        counts.float(),
        tokens.sum_by_sequence(correct.float()),
        prefix.float(),
    ]
    return torch.stack(columns, dim=1).tolist()


def _statistics(tokens: AnswerTokens) -> list[TokenStatistics]:
    """The statistics of every sequence, in one copy to the host."""
    both = torch.stack([tokens.log_probability, _standardised(tokens)]).cpu()
    by_sequence = both.split(tokens.token_counts.tolist(), dim=1)
    return [TokenStatistics(*pair.numpy()) for pair in by_sequence]


def _standardised(tokens: AnswerTokens) -> Tensor:
    """(log p(x_t) − μ_t) / σ_t, (N,) fp32 from logits of any dtype.

    σ² is the mean of (log p − μ)²: the mean of squares less the square of the mean would lose it where the model is
    nearly certain.
    """
    moments = []
    for logits, normaliser in zip(
        tokens.logits.split(DISTRIBUTIONS_IN_FP32),
        tokens.log_normaliser.split(DISTRIBUTIONS_IN_FP32),
        strict=True,
    ):
        # Below −200 p is 0 in fp32; a masked logit's −∞ would make that 0 · ∞.
        log_p = (logits.float() - normaliser[:, None]).clamp_(min=-200.0)
        p = log_p.exp()
        mean = (p * log_p).sum(-1)
        variance = log_p.sub_(mean[:, None]).square_().mul_(p).sum(-1)
        moments.append(torch.stack([mean, variance]))
    mean, variance = torch.cat(moments, dim=1)
    return (tokens.log_probability - mean) / variance.clamp(min=LEAST_VARIANCE).sqrt()
