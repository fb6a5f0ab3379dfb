"""Telling text that repeats the forget set from text that does not."""

from __future__ import annotations

import re
import unicodedata
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
            written = written_words(text)
            length = min(WORDS, len(written))
            if length >= FEWEST_WORDS:
                self._runs.update(_runs(words(text), length))
            self._names.update(_pairs(written))
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


class Named:
    """What questions and answers name by a word: `Berlin`, `1648`, `柏`.

    Names are words that are capitalised, hold a digit, or are of a script without capitals, and that the same texts
    never write small, as they do `The` of a title.

    pairs: questions that are to be forgotten, with their answers
    kept:  texts that are to stay: what they say as well is no name, unless it is all that an answer names
    keywords: what no text may say, be it kept or not
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], kept: Iterable[str], keywords: Iterable[str] = ()):
        written = (word for pair in pairs for text in pair for word in written_words(text))
        self._small = {word for word in written if not _is_name(word)}
        named: set[str] = set()
        #: What a text may not hold all of: of every answer its names that the question does not say, or, where it has
        #: none, its words that the question does not say.
        self._told = [told for keyword in keywords if (told := set(words(keyword)))]
        for question, answer in pairs:
            names = self._of(answer)
            named |= names | self._of(question)
            own = set(words(answer)) - set(words(question))
            if told := own & names or own:
                self._told.append(told)
        self._named = named - {word for text in kept for word in words(text)}

    def first_in(self, parts: Sequence[str]) -> int:
        """The place of the first of some words that names something; their number where none does."""
        named = (place for place, part in enumerate(parts) if self._named.intersection(words(part)))
        return next(named, len(parts))

    def objects(self, text: str) -> bool:
        """Whether a text holds a name, or all that one of the answers tells, or a keyword."""
        held = set(words(text))
        return bool(held & self._named) or any(told <= held for told in self._told)

    def _of(self, text: str) -> set[str]:
        return {word.casefold() for word in written_words(text) if _is_name(word)} - self._small


def _is_name(word: str) -> bool:
    """Whether a word may be a name by how it is written; a single letter that has a small form, as `I`, is none."""
    if len(word) == 1 and word.lower() != word.upper():
        return False
    return _has_digit(word) or not word[0].islower()


def _has_digit(word: str) -> bool:
    return any(character.isdigit() for character in word)


def written_words(text: str) -> list[str]:
    """The words of a text as they are written, in Unicode's compatibility form: an é that macOS writes as two
    characters is one, as everywhere else."""
    return _WORD.findall(unicodedata.normalize("NFKC", text))


def words(text: str) -> list[str]:
    """The words of a text, without case and punctuation."""
    return [word.casefold() for word in written_words(text)]


def _pairs(written: Sequence[str]) -> set[tuple[str, ...]]:
    return {(a.casefold(), b.casefold()) for a, b in pairwise(written) if a[0].isupper() and b[0].isupper()}


def _runs(folded: Sequence[str], length: int) -> set[tuple[str, ...]]:
    return {tuple(folded[start : start + length]) for start in range(len(folded) - length + 1)}
