"""`vila` and `lora_fisher`: importance from the gradients of a random LoRA pair (VILA, theorem 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from .estimator import Estimator, Layer, Sums, variance

STANDARD_DEVIATION = 0.05


class Projected(Estimator):
    """Statistics of g Aᵀ, kept transposed (r, d_out), and Bᵀ g (r, d_in), the gradients of B and of A: g is not formed.

    A and B are drawn N(0, 0.05²) and used as projections only: the gradients are those of the unperturbed model.
    With `importance.perturb` s·BA is added to W while measuring, as the authors do.
    """

    storage = "2r(d_out + d_in)"

    def __init__(self, layer: Layer, device: torch.device):
        super().__init__(layer, device)
        self.A = layer.gaussian("A", layer.rank, layer.d_in, std=STANDARD_DEVIATION).to(device)
        self.B = layer.gaussian("B", layer.d_out, layer.rank, std=STANDARD_DEVIATION).to(device)
        # Products with few rows are faster on CPUs than those with few columns.
        self._B_transposed = self.B.T.contiguous()

    def sums(self, x: Tensor, delta: Tensor) -> Sums:
        of_B = self.A @ x.transpose(1, 2) @ delta  # (g Aᵀ)ᵀ, (n, r, d_out)
        of_A = self._B_transposed @ delta.transpose(1, 2) @ x  # Bᵀ g, (n, r, d_in)
        return {
            "B": of_B.sum(0),
            "B_squares": torch.linalg.vecdot(of_B, of_B, dim=0),
            "A": of_A.sum(0),
            "A_squares": torch.linalg.vecdot(of_A, of_A, dim=0),
        }


class Vila(Projected):
    """Var[g Aᵀ] · Var[Bᵀ g]: (d_out, r) times (r, d_in).

    VILA's theorem 1 approximates Var(ΔW_ij) by Σ_k Var(B_ik) Var(A_kj).
    """

    formula = "Var[gAᵀ]·Var[Bᵀg], A and B random of rank r"
    paper = "VILA, COLM 2025, theorem 1"
    least_samples = 2

    def rows(self, sums: Sums, count: int, rows: slice) -> Tensor:
        of_B = variance(sums["B_squares"][:, rows], (sums["B"][:, rows] / count).square(), count)
        of_A = variance(sums["A_squares"], (sums["A"] / count).square(), count)
        return of_B.T @ of_A


class LoraFisher(Projected):
    """E[(g Aᵀ)²] · E[(Bᵀ g)²]: the LoRA approximation without VILA's correction."""

    formula = "E[(gAᵀ)²]·E[(Bᵀg)²], A and B random of rank r"
    paper = "VILA, COLM 2025, the LoRA approximation alone"

    def rows(self, sums: Sums, count: int, rows: slice) -> Tensor:
        return (sums["B_squares"][:, rows].T / count) @ (sums["A_squares"] / count)
