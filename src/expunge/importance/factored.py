"""`factored`: what VILA's random projections estimate, computed without randomness and without forming g."""

from __future__ import annotations

import torch
from torch import Tensor

from .estimator import Estimator, Layer, Sums, estimators, per_sample_gradients, variance

#: Layers up to this size keep E[g] itself; larger ones keep two sketches of it.
EXACT_MEAN_NUMBERS = 2**17
SKETCH_WIDTH = 32


@estimators("factored")
class Factored(Estimator):
    """r_i c_j / Σr with r_i = Σ_j Var(g_ij) and c_j = Σ_i Var(g_ij): the best rank-one fit with these margins.

    The margins of E[g²] come from Gram matrices: Σ_j g_ij² = Σ_tu δ_ti (x_t·x_u) δ_ui (the ghost norm of Opacus,
    kept per row), at a cost of T²(d_in + d_out) a sample against T·d_in·d_out for forming g; the cheaper one is
    taken. The margins of E[g]² need E[g]: kept exactly for a small layer, else as the sketches E[g]Ω and Ω'E[g]
    with Gaussian Ω of width 32, whose squared row norms are unbiased.
    """

    formula = "r_i·c_j / Σr; r, c = row and column sums of Var[g]"
    paper = "expunge"
    storage = "(d_out + d_in)·33, or d_out·d_in for a small layer"
    least_samples = 2

    def __init__(self, layer: Layer, device: torch.device):
        super().__init__(layer, device)
        self.exact = layer.d_out * layer.d_in <= EXACT_MEAN_NUMBERS
        if not self.exact:
            std = SKETCH_WIDTH**-0.5
            self.of_inputs = layer.gaussian("inputs", layer.d_in, SKETCH_WIDTH, std=std).to(device)
            self.of_outputs = layer.gaussian("outputs", layer.d_out, SKETCH_WIDTH, std=std).to(device)

    def sums(self, x: Tensor, delta: Tensor) -> Sums:
        if self.exact:
            return self._direct_margins(x, delta, keep_mean=True)
        sketches = {
            "mean_rows": torch.einsum("nto,ntk->ok", delta, x @ self.of_inputs),
            "mean_columns": torch.einsum("nti,ntk->ik", x, delta @ self.of_outputs),
        }
        length, d_in, d_out = x.shape[1], self.layer.d_in, self.layer.d_out
        if length * (d_in + d_out) < d_in * d_out:
            return {**self._gram_margins(x, delta), **sketches}
        return {**self._direct_margins(x, delta, keep_mean=False), **sketches}

    def _gram_margins(self, x: Tensor, delta: Tensor) -> Sums:
        return {
            "rows": (delta * ((x @ x.transpose(1, 2)) @ delta)).sum((0, 1)),
            "columns": (x * ((delta @ delta.transpose(1, 2)) @ x)).sum((0, 1)),
        }

    def _direct_margins(self, x: Tensor, delta: Tensor, keep_mean: bool) -> Sums:
        rows = torch.zeros(self.layer.d_out, device=x.device)
        columns = torch.zeros(self.layer.d_in, device=x.device)
        mean = torch.zeros(self.layer.d_out, self.layer.d_in, device=x.device) if keep_mean else None
        for gradients in per_sample_gradients(x, delta):
            squares = torch.linalg.vecdot(gradients, gradients, dim=0)
            rows += squares.sum(1)
            columns += squares.sum(0)
            if mean is not None:
                mean += gradients.sum(0)
        margins = {"rows": rows, "columns": columns}
        return margins if mean is None else {**margins, "mean": mean}

    def rows(self, sums: Sums, count: int, rows: slice) -> Tensor:
        by_row = sums["mean"] if self.exact else sums["mean_rows"]
        by_column = sums["mean"].T if self.exact else sums["mean_columns"]
        r = variance(sums["rows"], (by_row / count).square().sum(1), count)
        c = variance(sums["columns"], (by_column / count).square().sum(1), count)
        total = r.sum()
        return torch.outer(r[rows], c) / total if total > 0 else torch.zeros_like(torch.outer(r[rows], c))
