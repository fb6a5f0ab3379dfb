"""The search for samples that say the same, but for case, space and punctuation, or almost the same."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain

from .samples import Conversation, QuestionAnswer, Sample, Text
from .screening import words

#: Two samples resemble one another where their sets of so many words in a row have this Jaccard index at least.
WORDS, LEAST = 3, 0.5
#: Words in a row that more samples than this share are of the form, not of the content: they make no pair a candidate.
COMMON = 50

#: Signs, and marks between the digits of a number, are part of the number: 1.5 is not 15, and −5 not 5.
_IN_NUMBER = re.compile(r"[.,:/\u2212-](?=\d)")


class _Letters(dict[int, int | None]):
    """For `str.translate`: without space, punctuation and control characters; symbols such as + stay."""

    def __missing__(self, code: int) -> int | None:
        dropped = unicodedata.category(chr(code))[0] in "PZC"
        self[code] = None if dropped else code
        return self[code]


_LETTERS = _Letters()


def bare(text: str) -> str:
    """A text without case, space and punctuation, in Unicode's compatibility form; where nothing is left, as it is."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    # A symbol, which is kept, stands for all that parts digits.
    return _IN_NUMBER.sub("=", folded).translate(_LETTERS) or folded


def content(sample: Sample) -> Hashable:
    """A sample's content: the same for two that differ in case, space and punctuation alone, whatever their format."""
    if isinstance(sample, QuestionAnswer | Conversation):
        return tuple((role, bare(text)) for role, text in _turns(sample))
    return bare(sample.text) if isinstance(sample, Text) else repr(sample)


def resembling(samples: Sequence[Sample], others: Sequence[Sample]) -> list[tuple[int, int, float]]:
    """(place in `samples`, place of the likest in `others`, Jaccard index) of those that resemble one.

    The index is of sets of `WORDS` words in a row. Pairs are not looked at whose words in a row are all among more
    than `COMMON` of `samples`, so that 10⁴ × 10⁴ take seconds; of `others` one at a time is in memory.
    """
    ours = [_runs(sample) for sample in samples]
    places: Mapping[int, list[int]] = defaultdict(list)
    for place, runs in enumerate(ours):
        for run in runs:
            places[run].append(place)
    likest: dict[int, tuple[float, int]] = {}
    for other, sample in enumerate(others):
        theirs = _runs(sample)
        known = [places[run] for run in theirs if run in places]
        common = sum(len(those) > COMMON for those in known)
        shared = Counter(chain.from_iterable(those for those in known if len(those) <= COMMON))
        for place, times in shared.items():
            own = ours[place]
            # |a ∩ b| / |a ∪ b| ≥ L exactly where |a ∩ b| (1 + L) ≥ L (|a| + |b|)
            if (times + common) * (1 + LEAST) >= LEAST * (len(own) + len(theirs)):
                index = len(own & theirs) / len(own | theirs)
                if index >= LEAST and index > likest.get(place, (0.0, 0))[0]:
                    likest[place] = (index, other)
    return [(place, other, index) for place, (index, other) in sorted(likest.items())]


def _turns(sample: QuestionAnswer | Conversation) -> list[tuple[str, str]]:
    if isinstance(sample, QuestionAnswer):
        return [("user", sample.question), ("assistant", sample.answer)]
    more = [("more", sample.more)] if sample.more else []
    return [*sample.turns, *more]


def _runs(sample: Sample) -> set[int]:
    """Hashes of the words in a row of all that a sample says."""
    if isinstance(sample, QuestionAnswer | Conversation):
        said = words(" ".join(text for _, text in _turns(sample)))
    else:
        said = words(sample.text) if isinstance(sample, Text) else []
    return {hash(tuple(said[start : start + WORDS])) for start in range(len(said) - WORDS + 1)}
