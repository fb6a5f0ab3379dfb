"""How likely a model finds given answers: one teacher-forced pass for every metric without generation.

Loss, exact memorisation and extraction strength all come from the same logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..data.encoding import Example, collate
from ..models.answers import AnswerTokens, answer_tokens
from ..progress import track
from .inference import batches_by_length, inference
from .log import Likelihood

#: Label tokens whose logits are in fp32 at a time: 1 GB of copies for a vocabulary of 128,000.
TOKENS_IN_FP32 = 1024


#: A CPU is fastest where the activations of a layer stay in its cache (measured: 2048 took 0.6 of the time of 8192).
TOKENS_PER_BATCH = {"cpu": 2048, "accelerator": 16384}


@dataclass(frozen=True)
class AnswerLoss(Likelihood):
    """A likelihood with what greedy decoding would have got right under teacher forcing.

    correct:  label tokens that are the model's first choice
    strength: extraction strength 1 − k/T (Carlini et al. 2021): k is the shortest prefix of the answer after
              which every first choice is right, T the label tokens; 1 is verbatim, 0 where the last is wrong
    """

    correct: int
    strength: float


def answer_losses(
    model: Any,
    examples: Sequence[Example],
    pad_token_id: int,
    tokens_per_batch: int | None = None,
    description: str | None = None,
) -> list[AnswerLoss]:
    """Measure every example's answer, in the order given.

    tokens_per_batch: padded tokens in one forward pass; by default what suits the model's device
    description:      shown as progress, nothing is shown without one

    An example without label tokens has loss 0 of 0 tokens and strength 0. The model's modes are kept.
    """
    results = [AnswerLoss(0.0, 0, 0, 0.0)] * len(examples)
    labelled = [index for index, example in enumerate(examples) if example.label_count]
    with inference(model) as device:
        limit = tokens_per_batch or TOKENS_PER_BATCH.get(device.type, TOKENS_PER_BATCH["accelerator"])
        batches = batches_by_length([len(examples[index]) for index in labelled], limit)
        for rows in track(batches, description) if description else batches:
            indices = [labelled[row] for row in rows]
            batch = collate([examples[index] for index in indices], pad_token_id)
            tokens = answer_tokens(model, {key: value.to(device) for key, value in batch.items()})
            for index, (loss, count, correct, prefix) in zip(indices, _summaries(tokens), strict=True):
                results[index] = AnswerLoss(loss, int(count), int(correct), 1.0 - prefix / count)
    return results


def _summaries(tokens: AnswerTokens) -> list[list[float]]:
    """Per sequence: summed loss, label tokens, hits and k, brought to the host in one copy."""
    slices = [
        AnswerTokens(logits, targets, sequence, tokens.sequences)
        for logits, targets, sequence in zip(
            tokens.logits.split(TOKENS_IN_FP32),
            tokens.targets.split(TOKENS_IN_FP32),
            tokens.sequence.split(TOKENS_IN_FP32),
            strict=True,
        )
    ]
    log_probability = torch.cat([part.log_probability for part in slices])
    correct = torch.cat([part.correct for part in slices])
    counts = tokens.token_counts
    starts = counts.cumsum(0) - counts
    place = torch.arange(len(tokens.targets), device=counts.device) - starts[tokens.sequence] + 1
    # k is the place, counted from 1, of the last wrong token: 0 where all are right.
    misses = torch.where(correct, 0, place)
    prefix = torch.zeros_like(counts).scatter_reduce(0, tokens.sequence, misses, "amax")
    columns: list[Tensor] = [
        tokens.sum_by_sequence(-log_probability),
        counts.float(),
        tokens.sum_by_sequence(correct.float()),
        prefix.float(),
    ]
    return torch.stack(columns, dim=1).tolist()
