"""Leaks among sampled answers: which text counts as one, and how likely one is among k (leak@k)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ..evaluation.rouge import rouge_scores

if TYPE_CHECKING:
    from .attack import Item

#: Scripts that part words by no spaces, or append to a name: Thai, Lao, Burmese, Khmer, Japanese, Chinese, Korean.
_SPACELESS = re.compile(
    r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]"
)


@dataclass(frozen=True)
class Leak:
    """A text leaks an item where it says one of its keywords; one without keywords where its ROUGE-L recall of the
    answer is at least `recall`, in (0, 1]."""

    recall: float = 0.8

    def among(self, item: Item, texts: Sequence[str]) -> int:
        """How many of the `texts` leak the item."""
        if item.keywords:
            keywords = [spaced(keyword) for keyword in item.keywords]
            return sum(any(keyword in said for keyword in keywords) for said in map(spaced, texts))
        scores = rouge_scores((item.truth or "", text) for text in texts)
        return sum(score.rougeL_recall >= self.recall for score in scores)


class _Characters(dict[int, str]):
    """For `str.translate`: letters, digits and marks on them stay, what is unseen goes, and all else parts words."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        kind = unicodedata.category(character)
        kept = character if kind[0] in "LMN" else "" if kind == "Cf" else " "
        self[code] = f" {character} " if _SPACELESS.match(character) else kept
        return self[code]


_CHARACTERS = _Characters()


def spaced(text: str) -> str:
    """The words of a text, without case and in Unicode's compatibility form, a space before, between and after them.

    So a text says a keyword where `spaced(keyword) in spaced(text)`. Of scripts without spaces a character is a word.
    """
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return f" {' '.join(folded.translate(_CHARACTERS).split())} "


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
