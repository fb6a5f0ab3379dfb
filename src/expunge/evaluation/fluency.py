"""Whether a model still writes language, from its generations alone: no other model judges them.

A model that has been pushed too far repeats itself, so its n-grams are few. Words are what white space separates.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

#: Length of the n-grams of `repetition`, as in seq-rep-4 (Welleck et al. 2020).
REPEATED = 4
#: n → weight in `ngram_entropy` (Zhang et al. 2018; the weights of Meng et al. 2022, divided by their number).
ENTROPY_WEIGHTS = {2: 1 / 3, 3: 2 / 3}


def repetition(text: str) -> float | None:
    """1 − distinct / all 4-grams (Welleck et al. 2020, seq-rep-4); None for a text of fewer than four words.

    0 where nothing is said twice, near 1 in a loop.
    """
    grams = _ngrams(text.split(), REPEATED)
    return 1.0 - len(set(grams)) / len(grams) if grams else None


def ngram_entropy(text: str) -> float:
    """Entropy of the 2-grams and 3-grams in bits, ⅓ H₂ + ⅔ H₃; 0 for a loop of one word and for an empty text.

    It grows with the length of the text, so compare texts that were generated to the same length.
    """
    words = text.split()
    return sum(weight * _entropy(_ngrams(words, n)) for n, weight in ENTROPY_WEIGHTS.items())


def _ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + n]) for start in range(len(words) - n + 1)]


def _entropy(grams: Sequence[tuple[str, ...]]) -> float:
    return sum(count / len(grams) * math.log2(len(grams) / count) for count in Counter(grams).values())
