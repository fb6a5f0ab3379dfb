"""`squared_mean`: the square of the mean gradient."""

from __future__ import annotations

from torch import Tensor

from expunge.importance.estimator import Estimator, Sums


class SquaredMean(Estimator):
    """E[g_ij]²: what one step of gradient descent on the whole set would move."""

    formula = "E[g_ij]²"
    paper = "none; an example"
    storage = "d_out·d_in"

    def sums(self, x: Tensor, delta: Tensor) -> Sums:
        return {"sum": delta.flatten(0, 1).T @ x.flatten(0, 1)}

    def rows(self, sums: Sums, count: int, rows: slice) -> Tensor:
        return (sums["sum"][rows] / count).square()
