"""ROUGE (Lin 2004) as the benchmarks use it: the `rouge_score` package with stemming.

The package's own tokenizer knows a–z and 0–9 alone: of a Russian or a Japanese answer it would leave nothing, and every
recall would be 0. A truth whose letters are for the greater part others is parted into words of any script.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from .log import QuestionRecord

if TYPE_CHECKING:
    from rouge_score.rouge_scorer import RougeScorer


@dataclass(frozen=True)
class Rouge:
    """Scores of one generation in [0, 1]. Recall is the share of the truth that the generation contains."""

    rouge1_recall: float
    rougeL_recall: float  # noqa: N815 — ROUGE-L is the field's name, and open-unlearning's key
    rougeL_f1: float  # noqa: N815


def rouge_scores(pairs: Iterable[tuple[str, str]]) -> list[Rouge]:
    """Score pairs of (truth, generation)."""
    return [_score(truth, generation) for truth, generation in pairs]


@cache
def _scorer(any_script: bool) -> RougeScorer:
    from rouge_score.rouge_scorer import RougeScorer  # here for the start-up time: it loads nltk

    return RougeScorer(["rouge1", "rougeL"], tokenizer=_tokenizer(any_script))


@cache
def _tokenizer(any_script: bool) -> Any:
    from rouge_score.tokenizers import DefaultTokenizer

    return AnyScript() if any_script else DefaultTokenizer(use_stemmer=True)


class AnyScript:
    """A tokenizer for `RougeScorer`: words are letters, marks and digits in a row, in small letters.

    Of scripts that put no space between words every letter is a word.
    """

    def tokenize(self, text: str) -> list[str]:
        parted = (
            f" {sign} " if _stands_alone(sign) else sign if unicodedata.category(sign)[0] in "LMN" else " "
            for sign in unicodedata.normalize("NFC", text).casefold()
        )
        return "".join(parted).split()


#: Scripts without spaces between words, as the names of their letters begin.
WITHOUT_SPACES = ("CJK ", "HIRAGANA ", "KATAKANA ", "THAI ", "LAO ", "KHMER ", "MYANMAR ", "TIBETAN ")


def _stands_alone(sign: str) -> bool:
    return unicodedata.category(sign) == "Lo" and unicodedata.name(sign, "").startswith(WITHOUT_SPACES)


def has_words(truth: str) -> bool:
    """Whether there is anything in it that could be recalled."""
    return bool(_tokenizer(_of_another_script(truth)).tokenize(truth))


def _of_another_script(text: str) -> bool:
    letters = [sign for sign in text if unicodedata.category(sign)[0] == "L"]
    return 2 * sum(unicodedata.name(sign, "").startswith("LATIN ") for sign in letters) < len(letters)


# A log's metrics are asked for more than once, and stemming 800 generations of 200 tokens takes seconds.
@lru_cache(maxsize=4096)
def _score(truth: str, generation: str) -> Rouge:
    score = _scorer(_of_another_script(truth)).score(truth, generation)
    return Rouge(score["rouge1"].recall, score["rougeL"].recall, score["rougeL"].fmeasure)


def generated_pairs(records: Iterable[QuestionRecord]) -> Iterator[tuple[str, str]]:
    """(truth, generation) of every record that has both."""
    for record in records:
        if record.truth is not None and record.generation is not None:
            yield record.truth, record.generation
