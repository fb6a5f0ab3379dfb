"""`fila`: the empirical Fisher information of LoKU."""

from __future__ import annotations

import torch
from torch import Tensor

from .estimator import Estimator, Sums, estimators, per_sample_gradients


@estimators("fila")
class Fila(Estimator):
    """E[g_ij²] over samples (LoKU, equation 2), the whole map."""

    formula = "E[g_ij²]"
    paper = "LoKU, ICLR 2025, equation 2"
    storage = "d_out·d_in"

    def sums(self, x: Tensor, delta: Tensor) -> Sums:
        squares = torch.zeros(self.layer.d_out, self.layer.d_in, device=x.device)
        for gradients in per_sample_gradients(x, delta):
            squares += torch.linalg.vecdot(gradients, gradients, dim=0)
        return {"squares": squares}

    def rows(self, sums: Sums, count: int, rows: slice) -> Tensor:
        return sums["squares"][rows] / count
