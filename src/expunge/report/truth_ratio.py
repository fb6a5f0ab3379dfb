"""The truth ratios in an evaluation log, and to which side of the reference they lie.

R = exp(−mean_k avg_loss(wrong_k)) / exp(−avg_loss(paraphrased)) (TOFU, Maini et al. 2024): small where the
model prefers the right answer, 1 where it cannot tell it from the wrong ones, larger where it avoids it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import ks_2samp

from ..evaluation.log import EvaluationLog


def truth_ratios(log: EvaluationLog) -> np.ndarray:
    """R of every forget question that has wrong answers, (n,) float64, n = 0 where the log has none."""
    ratios = []
    for record in log.sets.get("forget", ()):
        if record.perturbed:
            right = record.paraphrased or record.answer
            mean_wrong = sum(answer.average_loss for answer in record.perturbed) / len(record.perturbed)
            ratios.append(np.exp(right.average_loss - mean_wrong))
    return np.array(ratios, dtype=np.float64)


@dataclass(frozen=True)
class Shift:
    """Where the truth ratios of a model lie against those of the reference: p-values of one-sided KS tests.

    short:  small when ratios are smaller than the reference's: the right answers are still preferred
    beyond: small when ratios are larger than the reference's: the right answers are avoided
    """

    short: float
    beyond: float


def shift(ratios: np.ndarray, reference: np.ndarray) -> Shift | None:
    """Compare R (n,) of a model with R (m,) of the reference; None where either has no finite value."""
    ratios, reference = ratios[np.isfinite(ratios)], reference[np.isfinite(reference)]
    if not len(ratios) or not len(reference):
        return None
    # scipy's `greater`: the distribution function of the first lies above, so its values are smaller.
    short = ks_2samp(ratios, reference, alternative="greater").pvalue
    beyond = ks_2samp(ratios, reference, alternative="less").pvalue
    return Shift(float(short), float(beyond))
