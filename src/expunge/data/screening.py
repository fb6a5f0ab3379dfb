"""Telling text that repeats the forget set from text that does not."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import pairwise

#: Words in a row that no text shares with the forget set.
WORDS = 5
#: A shorter forget text, an answer of two words say, is looked for as a whole; a single word is too common for that.
FEWEST_WORDS = 2

REPEATS, NAMES = "repeats the forget set", "names what is in the forget set"

#: Letters and digits; a Chinese, Japanese or Korean character is a word of its own, as no spaces part words there.
_WORD = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]+"
)

_SENTENCE_END = re.compile(r"(?<=[.!?:])\s+")


class Screen:
    """Whether a text has `WORDS` words in a row from a forget text, all of a shorter one, or a name from any.

    A name is a pair of capitalised words side by side, such as `Ada Lovelace`. A model that knows someone by heart
    writes about them in other words too: names catch more of that than any number of words in a row. Case and
    punctuation play no part in the comparison. Paraphrases without names, and single rare words, pass.

    texts: questions, answers and texts of the forget set, one by one
    """

    def __init__(self, texts: Iterable[str]):
        self._runs: set[tuple[str, ...]] = set()
        self._names: set[tuple[str, ...]] = set()
        for text in texts:
            written = _WORD.findall(text)
            length = min(WORDS, len(written))
            if length >= FEWEST_WORDS:
                self._runs.update(_runs(words(text), length))
            self._names.update(_names(written))
        self._lengths = {len(run) for run in self._runs}

    def objection(self, texts: Sequence[str]) -> str | None:
        """`REPEATS` or `NAMES` where one of `texts` repeats the forget set or names someone, else None."""
        for text in texts:
            folded = words(text)
            if any(run in self._runs for length in self._lengths for run in _runs(folded, length)):
                return REPEATS
        # In whatever case: a name in small letters is a name all the same.
        if any(pair in self._names for text in texts for pair in _runs(words(text), 2)):
            return NAMES
        return None


def told_words(questions: Iterable[str], answers: Iterable[str]) -> set[str]:
    """The capitalised words of the answers, casefolded, but a sentence's first and those that a question has: what the
    answers give away by a word, as `Berlin` does."""
    asked = {word for question in questions for word in words(question)}
    told = {
        word.casefold()
        for answer in answers
        for sentence in _SENTENCE_END.split(answer)
        for word in _WORD.findall(sentence)[1:]
        if word[0].isupper()
    }
    return told - asked


def words(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return [word.casefold() for word in _WORD.findall(text)]


def _names(written: Sequence[str]) -> set[tuple[str, ...]]:
    return {(a.casefold(), b.casefold()) for a, b in pairwise(written) if a[0].isupper() and b[0].isupper()}


def _runs(folded: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(folded[start : start + length]) for start in range(len(folded) - length + 1)}
