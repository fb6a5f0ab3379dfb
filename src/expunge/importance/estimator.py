"""The interface of importance estimators.

Every estimator works on g_n = ∂L(x_n)/∂W, one matrix (d_out, d_in) per sample, which is δᵀx for the layer's input
x (T, d_in) and output gradient δ (T, d_out). An estimator is two pure functions:

- `sums`: statistics of a batch of samples that *add up* over batches and over processes, so that one pass
  suffices and the batch size does not matter;
- `rows`: from the sums of a whole set, the importance of some rows of W.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..models.seeds import seed_for

Sums = dict[str, Tensor]

#: Most numbers that a temporary (samples, d_out, d_in) tensor may hold: 128 MB in fp32.
TEMPORARY_NUMBERS = 2**25


@dataclass(frozen=True)
class Layer:
    """A linear layer as the estimators see it.

    name: its name in the model; d_out, d_in: the shape of W
    rank: rank of the adapter that will be placed here (VILA projects to it)
    seed: seed of the random projections, which are drawn per layer name
    samples: how many samples the smaller set has; None for many
    """

    name: str
    d_out: int
    d_in: int
    rank: int = 8
    seed: int = 0
    samples: int | None = None

    def gaussian(self, purpose: str, *shape: int, std: float = 1.0) -> Tensor:
        """A seeded Gaussian matrix on the CPU: the same for this layer, purpose and seed on every machine."""
        generator = torch.Generator().manual_seed(seed_for(self.seed, self.name, purpose))
        return torch.randn(*shape, generator=generator) * std


class Estimator(ABC):
    """One way to say how much of a set an entry of W carries, for one layer."""

    #: One line: the formula, E[·] of something; shown by `expunge methods`.
    formula: str
    paper: str
    #: Fewest forget samples that it says something about: a variance needs two.
    least_samples: int = 1
    #: Numbers kept per layer and set, as a formula in d_out, d_in, r.
    storage: str

    def __init__(self, layer: Layer, device: torch.device):
        self.layer = layer

    @abstractmethod
    def sums(self, x: Tensor, delta: Tensor) -> Sums:
        """Statistics of a batch, summed over its samples.

        x: (n, T, d_in) fp32 inputs; delta: (n, T, d_out) fp32 output gradients, 0 where nothing counts.
        """

    @abstractmethod
    def rows(self, sums: Sums, count: int, rows: slice) -> Tensor:
        """Importance of the given rows of W, (rows, d_in) fp32 ≥ 0, from the sums over `count` samples."""


def per_sample_gradients(x: Tensor, delta: Tensor) -> Iterator[Tensor]:
    """g of a few samples at a time, (few, d_out, d_in), within `TEMPORARY_NUMBERS`."""
    few = max(1, TEMPORARY_NUMBERS // (delta.shape[-1] * x.shape[-1]))
    for start in range(0, len(x), few):
        part = slice(start, start + few)
        yield delta[part].transpose(1, 2) @ x[part]


def variance(square_sum: Tensor, mean_square: Tensor, count: int) -> Tensor:
    """E[g²] − E[g]² over `count` samples, never below 0."""
    return (square_sum / count - mean_square).clamp_min(0.0)
