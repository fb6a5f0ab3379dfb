"""The estimators that keep a number for every entry of W: `fila` and the ablations of VILA's authors."""

from __future__ import annotations

import torch
from torch import Tensor

from .estimator import Estimator, Sums, per_sample_gradients, variance


class FullMap(Estimator):
    """Statistics of g, entry by entry."""

    def empty(self, x: Tensor) -> Tensor:
        """Zeros of W's shape, (d_out, d_in) fp32, on the device of x."""
        return torch.zeros(self.layer.d_out, self.layer.d_in, device=x.device)


class Fila(FullMap):
    """E[g_ij²] over samples: the empirical Fisher information (LoKU, equation 2)."""

    formula = "E[g_ij²]"
    paper = "LoKU, ICLR 2025, equation 2"
    storage = "d_out·d_in"

    def sums(self, x: Tensor, delta: Tensor) -> Sums:
        squares = self.empty(x)
        for gradients in per_sample_gradients(x, delta):
            squares += torch.linalg.vecdot(gradients, gradients, dim=0)
        return {"squares": squares}

    def rows(self, sums: Sums, count: int, rows: slice) -> Tensor:
        return sums["squares"][rows] / count


class Variance(FullMap):
    """E[g_ij²] − E[g_ij]²: a forget set is not distributed like the training data, so its score has a mean."""

    formula = "E[g_ij²] − E[g_ij]²"
    paper = "VILA, COLM 2025, the correction of the Fisher information alone"
    storage = "2·d_out·d_in"
    least_samples = 2

    def sums(self, x: Tensor, delta: Tensor) -> Sums:
        squares, total = self.empty(x), self.empty(x)
        for gradients in per_sample_gradients(x, delta):
            squares += torch.linalg.vecdot(gradients, gradients, dim=0)
            total += gradients.sum(0)
        return {"squares": squares, "sum": total}

    def rows(self, sums: Sums, count: int, rows: slice) -> Tensor:
        return variance(sums["squares"][rows], (sums["sum"][rows] / count).square(), count)


class Expectation(FullMap):
    """|E[g_ij]|: ExpILA."""

    formula = "|E[g_ij]|"
    paper = "VILA, COLM 2025, ablation ExpILA"
    storage = "d_out·d_in"

    def sums(self, x: Tensor, delta: Tensor) -> Sums:
        # The sum over samples is one product over all positions: no sample needs a matrix of its own.
        return {"sum": delta.flatten(0, 1).T @ x.flatten(0, 1)}

    def rows(self, sums: Sums, count: int, rows: slice) -> Tensor:
        return (sums["sum"][rows] / count).abs()


class Absolute(FullMap):
    """E|g_ij|: AbsILA."""

    formula = "E|g_ij|"
    paper = "VILA, COLM 2025, ablation AbsILA"
    storage = "d_out·d_in"

    def sums(self, x: Tensor, delta: Tensor) -> Sums:
        total = self.empty(x)
        for gradients in per_sample_gradients(x, delta):
            total += gradients.abs_().sum(0)
        return {"absolute": total}

    def rows(self, sums: Sums, count: int, rows: slice) -> Tensor:
        return sums["absolute"][rows] / count
