"""Weighted low-rank approximation: the adapter takes over the part of W that matters most to the forget set."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad

from ..importance.procedure import OFFICIAL_EPSILON

#: The exact SVD up to this smaller side; randomised above. Of the layers of SmolLM2-135M six power iterations leave an
#: error at most 1.0005 times the exact one's, in an eighth of its time.
EXACT_SIDE = 256
OVERSAMPLING = 16
POWER_ITERATIONS = 6
#: Smallest row weight, as a share of their root mean square: dividing by a smaller one would amplify rounding.
SMALLEST_WEIGHT = 1e-3


def weighted_low_rank(
    weight: Tensor, row_weights: Tensor, rank: int, scaling: float, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """min over A, B of ‖diag(d)(W − s·BA)‖_F in closed form (LoKU §3.4).

    weight: W (d_out, d_in) fp32; row_weights: d (d_out,) ≥ 0; scaling: s = α/r
    seed:   of the randomised SVD, used where the smaller side of W exceeds 256

    Returns A (rank, d_in) and B (d_out, rank), fp32, with ‖A‖_F = ‖B‖_F. With diag(d)W = USVᵀ cut to the rank,
    s·BA = diag(d)⁻¹USVᵀ. Only the direction of d matters: it is divided by its root mean square first.
    """
    root_mean_square = row_weights.square().mean().sqrt()
    if root_mean_square > 0:
        d = (row_weights / root_mean_square).clamp_min(SMALLEST_WEIGHT)[:, None]
    else:  # nothing of the forget set passes here: no row is preferred
        d = torch.ones_like(row_weights)[:, None]
    U, S, V = leading_singular_vectors(d * weight, rank, seed)
    B = U * S.sqrt() / d
    A = S.sqrt()[:, None] * V.T
    balance = (B.norm() / A.norm().clamp_min(torch.finfo(A.dtype).tiny)).sqrt()
    if balance == 0:
        return A, B
    return A * (balance / scaling**0.5), B / (balance * scaling**0.5)


def official_low_rank(
    weight: Tensor, row_weights: Tensor, rank: int, scaling: float, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """A (rank, d_in) and B (d_out, rank), fp32, as the papers' public code computes them, for comparison.

    d as it comes; a randomised SVD of exactly `rank` columns with torch's two power iterations, diag(d)W ≈ USVᵀ;
    A = √S Vᵀ and B = U√S / (d + 1e-5): not balanced, and BA takes the place of W's part, not s·BA.
    """
    d = row_weights[:, None]
    with torch.random.fork_rng(devices=[weight.device] if weight.is_cuda else []):
        torch.manual_seed(seed)
        U, S, V = _of_rank(rank, *torch.svd_lowrank(d * weight, q=min(rank, *weight.shape)))
    return S.sqrt()[:, None] * V.T, U * S.sqrt() / (d + OFFICIAL_EPSILON)


def leading_singular_vectors(matrix: Tensor, rank: int, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """U (rows, rank), S (rank,) and V (columns, rank) of an fp32 matrix's leading singular values.

    A matrix has as many as its smaller side: where the rank is more, what comes after them is zero.
    """
    if min(matrix.shape) <= max(EXACT_SIDE, rank + OVERSAMPLING):
        U, S, Vh = torch.linalg.svd(matrix, full_matrices=False)
        V = Vh.T
    else:
        with torch.random.fork_rng(devices=[matrix.device] if matrix.is_cuda else []):
            torch.manual_seed(seed)
            U, S, V = torch.svd_lowrank(matrix, q=rank + OVERSAMPLING, niter=POWER_ITERATIONS)
    return _of_rank(rank, U, S, V)


def _of_rank(rank: int, U: Tensor, S: Tensor, V: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The first `rank`, and zeros where there are fewer: an adapter has one rank for all layers (PEFT, vLLM)."""
    missing = rank - len(S)
    return pad(U, (0, missing)), pad(S, (0, missing)), pad(V, (0, missing))
