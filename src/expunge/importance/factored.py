"""`factored`: what VILA's random projections estimate in expectation and before the ratio of the two sets, without
forming g, and in full where that is cheap."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from .estimator import Estimator, Layer, Sums, per_sample_gradients, variance

#: Layers up to this size keep E[g] itself; larger ones keep a sketch of it, at least this wide.
EXACT_MEAN_NUMBERS = 2**17
SKETCH = 16
#: The sketch is so wide that it moves a row's variance by this share (one standard deviation, independent gradients).
SKETCH_ERROR = 0.01


def sketch_width(samples: int | None) -> int:
    """The squared row norms of a sketch of width k are off by √(2/k), and are 1/(n − 1) of the variance."""
    if samples is None:
        return SKETCH
    return max(SKETCH, math.ceil(2 / (SKETCH_ERROR * max(1, samples - 1)) ** 2))


#: Input → what was computed of it. Query, key and value read one input, gate and up another: the work is shared.
_of_input: WeakIdKeyDictionary = WeakIdKeyDictionary()


class Factored(Estimator):
    """r_i c_j / Σr with r_i = Σ_j Var(g_ij) and c_j = Σ_i Var(g_ij): the best rank-one fit with these margins.

    A small layer keeps both margins of E[g²], and E[g]. A larger one
    - has the rows of E[g²] exactly, from the Gram matrix of the inputs: Σ_j g_ij² = Σ_tu δ_ti (x_t·x_u) δ_ui
      (the ghost norm of Opacus, kept per row), at a cost of T²(d_in + d_out) a sample against T·d_in·d_out for
      forming g; the cheaper one is taken;
    - has the rows of E[g]² from the sketch E[g]Ω with a Gaussian Ω, whose squared row norms are unbiased; it is 16
      wide, and wider for fewer than 37 samples, of which E[g]² is a large part (see `sketch_width`);
    - takes all columns as alike, c_j = Σr / d_in: but for ε they are a common factor of a layer's rows in d.

    On TOFU's forget05 with a model of 2.4 M parameters the sketch moved the rows of d by 0.09 % in the mean, and
    their rank correlation with the exact d was at least 0.999 in every layer; the columns moved them by 0.0005 %. With
    2 to 40 samples it was at least 0.993 (`experiments/speed/sketch.py`).
    """

    formula = "r_i·c_j / Σr; r, c = row and column sums of Var[g]"
    paper = "expunge"
    storage = "17·d_out, more for few samples, or d_out·d_in for a small layer"
    least_samples = 2

    def __init__(self, layer: Layer, device: torch.device):
        super().__init__(layer, device)
        self.width = sketch_width(layer.samples)
        self.exact = layer.d_out * layer.d_in <= EXACT_MEAN_NUMBERS or self.width >= layer.d_in
        if not self.exact:
            # One Ω for all layers of this width: layers that read one input then share its projection.
            width = replace(layer, name=f"width {layer.d_in}")
            self.of_inputs = width.gaussian("inputs", layer.d_in, self.width, std=self.width**-0.5).to(device)

    def sums(self, x: Tensor, delta: Tensor) -> Sums:
        if self.exact:
            return self._direct_margins(x, delta)
        length, d_in, d_out = x.shape[1], self.layer.d_in, self.layer.d_out
        gram = length * (d_in + d_out) < d_in * d_out
        return {
            "rows": self._gram_rows(x, delta) if gram else self._direct_rows(x, delta),
            "mean_rows": self._projected_input(x).flatten(0, 1).T @ delta.flatten(0, 1),
        }

    def _gram_rows(self, x: Tensor, delta: Tensor) -> Tensor:
        known = _of_input.setdefault(x, {})
        if "gram" not in known:
            known["gram"] = x @ x.transpose(1, 2)
        return (known["gram"] @ delta).mul_(delta).sum((0, 1))

    def _projected_input(self, x: Tensor) -> Tensor:
        known, key = _of_input.setdefault(x, {}), f"projected, seed {self.layer.seed}"
        if key not in known:
            known[key] = x @ self.of_inputs
        return known[key]

    def _direct_rows(self, x: Tensor, delta: Tensor) -> Tensor:
        rows = torch.zeros(self.layer.d_out, device=x.device)
        for gradients in per_sample_gradients(x, delta):
            rows += torch.linalg.vecdot(gradients, gradients, dim=2).sum(0)
        return rows

    def _direct_margins(self, x: Tensor, delta: Tensor) -> Sums:
        rows = torch.zeros(self.layer.d_out, device=x.device)
        columns = torch.zeros(self.layer.d_in, device=x.device)
        mean = torch.zeros(self.layer.d_out, self.layer.d_in, device=x.device)
        for gradients in per_sample_gradients(x, delta):
            squares = torch.linalg.vecdot(gradients, gradients, dim=0)
            rows += squares.sum(1)
            columns += squares.sum(0)
            mean += gradients.sum(0)
        return {"rows": rows, "columns": columns, "mean": mean}

    def rows(self, sums: Sums, count: int, rows: slice) -> Tensor:
        of_rows = sums["mean"].T if self.exact else sums["mean_rows"]  # (…, d_out)
        r = variance(sums["rows"], (of_rows / count).square().sum(0), count)[:, None]
        if not self.exact:
            return (r[rows] / self.layer.d_in).expand(-1, self.layer.d_in)
        c = variance(sums["columns"], (sums["mean"] / count).square().sum(0), count)
        return r[rows] * (c / r.sum().clamp_min(torch.finfo(r.dtype).tiny))
