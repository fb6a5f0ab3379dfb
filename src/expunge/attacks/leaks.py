"""Leaks among sampled answers: which text counts as one, and how likely one is among k (leak@k)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..evaluation.rouge import rouge_scores


@dataclass(frozen=True)
class Leak:
    """A text leaks an answer where its ROUGE-L recall of it is at least `recall`, in (0, 1]."""

    recall: float = 0.8

    def among(self, truth: str, texts: Sequence[str]) -> int:
        """How many of the `texts` leak `truth`."""
        return sum(
            score.rougeL_recall >= self.recall for score in rouge_scores((truth, text) for text in texts)
        )


def leak_at_k(leaks: Sequence[int], samples: int, k: int) -> np.ndarray:
    """The chance that at least one of k samples of an item leaks, (items,) float64 in [0, 1].

    leaks:   how many of an item's `samples` samples leak
    samples: n, at least k

    1 − C(n − c, k) / C(n, k): the unbiased estimator of pass@k (Chen et al. 2021, eq. 1), in the product form of
    its authors, as the binomials overflow. For k = n it is whether there was a leak at all.
    """
    if not 1 <= k <= samples:
        raise ValueError(f"k must be between 1 and the {samples} samples, not {k}.")
    counts = np.asarray(leaks)
    chances = np.ones(len(counts))
    for item, count in enumerate(counts):
        if samples - count >= k:
            chances[item] = 1.0 - np.prod(1.0 - k / np.arange(samples - count + 1, samples + 1))
    return chances
