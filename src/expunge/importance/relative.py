"""From the statistics of both sets to what the initialisation needs: one number a row."""

from __future__ import annotations

import torch
from torch import Tensor

from .estimator import TEMPORARY_NUMBERS, Estimator, Sums
from .procedure import Procedure

#: ε as a share of the median of F_r in the layer: it must not drown the retain set, as an absolute one does.
EPSILON = 1e-3
#: Numbers that the median is taken of: a few rows and columns, evenly spaced, of a larger layer.
MEDIAN_NUMBERS = 2**16


def relative_row_importance(
    estimator: Estimator,
    forget: Sums,
    forget_count: int,
    retain: Sums | None,
    retain_count: int,
    procedure: Procedure,
) -> Tensor:
    """d_i = sqrt(Σ_j F_f,ij / (F_r,ij + ε)), (d_out,) fp32 (LoKU §3.4); without a retain set sqrt(Σ_j F_f,ij).

    ε is the procedure's, by default `EPSILON` times the median of F_r. The map is made and reduced a few rows at a
    time, so it never exists as a whole.
    """
    d_out, d_in = estimator.layer.d_out, estimator.layer.d_in
    epsilon = procedure.epsilon
    if epsilon is None:
        epsilon = 0.0 if retain is None else _epsilon(estimator, retain, retain_count)
    few = max(1, TEMPORARY_NUMBERS // d_in)
    parts = []
    for start in range(0, d_out, few):
        rows = slice(start, start + few)
        relative = procedure.rows(estimator, forget, forget_count, rows)
        if retain is not None:
            relative = relative / (procedure.rows(estimator, retain, retain_count, rows) + epsilon)
        parts.append(relative.sum(1))
    return torch.cat(parts).sqrt()


def _epsilon(estimator: Estimator, retain: Sums, count: int) -> float:
    d_out, d_in = estimator.layer.d_out, estimator.layer.d_in
    step = max(1, round((d_out * d_in / MEDIAN_NUMBERS) ** 0.5))
    sample = estimator.rows(retain, count, slice(0, None, step))[:, ::step]
    # A layer that the retain set hardly touches, or not at all, still needs a divisor.
    scale = float(sample.median()) or float(sample.mean()) or 1.0
    return EPSILON * scale
