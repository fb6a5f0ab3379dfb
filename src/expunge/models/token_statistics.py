"""Per token, from logits over a vocabulary: all that losses and metrics need, in one pass over the logits.

Autograd's own path from logits to log p keeps a copy of them in fp32 and adds up one gradient of their size for
every gathered number. Here the work in fp32 goes a few tokens at a time, forward and backward, and the logits get
one gradient, in their own dtype: whatever the vocabulary, no second tensor of their size stays in memory.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

#: Logits that are in fp32 at a time. On a CPU they should stay in its cache; an accelerator wants large kernels.
NUMBERS_IN_FP32 = {"cpu": 2**20, "accelerator": 2**26}


def token_statistics(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """log Σ_v exp(y_v), log p(x_t) and max over v ≠ x_t of log p(v), all (N,) fp32, differentiable once.

    logits: (N, V) of any float dtype, V ≥ 2; targets: (N,) int64, the true tokens x_t
    """
    return _TokenStatistics.apply(logits, targets)


def cross_entropy(logits: Tensor, distribution: Tensor) -> Tensor:
    """−Σ_v q_v log p(v), (N,) fp32, differentiable once with respect to the logits: p − q.

    logits: (N, V) of any float dtype; distribution: q (N, V) fp32, held constant, its rows sum to 1

    p and q are often close. If we formed their difference after rounding both to bf16, it would be mostly rounding;
    here the difference is rounded once.
    """
    return _CrossEntropy.apply(logits, distribution)


class _CrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, distribution: Tensor) -> Tensor:
        normaliser, expected = (logits.new_empty(len(logits), dtype=torch.float32) for _ in range(2))
        for part in _parts(logits):
            y = logits[part].float()
            normaliser[part] = torch.logsumexp(y, dim=-1)
            expected[part] = (distribution[part] * y).sum(-1)
        ctx.save_for_backward(logits, distribution, normaliser)
        return normaliser - expected

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: Tensor) -> tuple[Tensor, None]:
        logits, distribution, normaliser = ctx.saved_tensors
        gradient = torch.empty_like(logits)
        for part in _parts(logits):
            p = (logits[part].float() - normaliser[part, None]).exp_()
            gradient[part] = p.sub_(distribution[part]).mul_(of_loss[part, None])
        return gradient, None


class _TokenStatistics(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        normaliser, of_target, of_other = (
            logits.new_empty(len(logits), dtype=torch.float32) for _ in range(3)
        )
        other = torch.empty_like(targets)
        for part in _parts(logits):
            target = targets[part, None]
            y = logits[part].float()
            normaliser[part] = torch.logsumexp(y, dim=-1)
            of_target[part] = y.gather(-1, target).squeeze(-1)
            # y may be the logits themselves, so a copy is written to.
            best = y.scatter(-1, target, -torch.inf).max(dim=-1)
            of_other[part], other[part] = best.values, best.indices
        ctx.save_for_backward(logits, targets, other, normaliser)
        return normaliser, of_target - normaliser, of_other - normaliser

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_normaliser: Tensor, of_target: Tensor, of_other: Tensor) -> tuple[Tensor, None]:
        logits, targets, other, normaliser = ctx.saved_tensors
        of_softmax = of_normaliser - of_target - of_other
        gradient = torch.empty_like(logits)
        for part in _parts(logits):
            y = logits[part].float() - normaliser[part, None]
            y = y.exp_().mul_(of_softmax[part, None])
            y.scatter_add_(-1, targets[part, None], of_target[part, None])
            y.scatter_add_(-1, other[part, None], of_other[part, None])
            gradient[part] = y
        return gradient, None


def _parts(logits: Tensor) -> list[slice]:
    """Slices of tokens; the logits of one slice are in fp32 at a time."""
    limit = NUMBERS_IN_FP32["cpu" if logits.device.type == "cpu" else "accelerator"]
    few = max(1, limit // logits.shape[-1])
    return [slice(start, start + few) for start in range(0, len(logits), few)]
