"""leak@k against the enumeration of all subsets; which texts leak."""

from __future__ import annotations

from itertools import combinations
from random import Random

import pytest

from expunge.attacks.attack import Item
from expunge.attacks.leaks import Leak, leak_at_k
from expunge.data.encoding import Example
from expunge.data.samples import QuestionAnswer


def item(truth: str, *keywords: str) -> Item:
    return Item(QuestionAnswer("Who?", truth), Example([0], [0]), [0], truth, keywords=keywords)


@pytest.mark.parametrize("samples", range(1, 8))
def test_the_estimator_is_the_share_of_all_subsets_with_a_leak(samples: int) -> None:
    for k in range(1, samples + 1):
        wanted = []
        for leaks in range(samples + 1):
            subsets = list(combinations([place < leaks for place in range(samples)], k))
            wanted.append(sum(map(any, subsets)) / len(subsets))
        assert leak_at_k(range(samples + 1), samples, k).tolist() == pytest.approx(wanted, abs=1e-12)


def test_200_samples_do_not_overflow() -> None:
    # C(199, 128) / C(200, 128) = (200 − 128) / 200; 73 leaks leave 127 samples without, fewer than are drawn.
    assert leak_at_k([0, 1, 73, 200], 200, 128).tolist() == pytest.approx([0.0, 128 / 200, 1.0, 1.0])


@pytest.mark.parametrize("k", [0, 9])
def test_no_more_can_be_drawn_than_there_are(k: int) -> None:
    with pytest.raises(ValueError, match="between 1 and the 8 samples"):
        leak_at_k([1], 8, k)


def test_a_text_leaks_where_it_has_enough_of_the_answer_in_its_order() -> None:
    answer = item("ada wrote five books there")
    texts = [
        "Well: Ada wrote five books there, I think.",  # 5 of 5
        "ada wrote five books",  # 4 of 5: just 0.8
        "five books ada wrote there",  # 3 in order
        "I do not know.",
        "",
    ]
    assert Leak().among(answer, texts) == 2
    assert Leak(recall=0.6).among(answer, texts) == 3
    assert Leak(recall=1.0).among(answer, texts) == 1


def test_with_keywords_one_of_them_is_enough_and_the_recall_does_not_count() -> None:
    named = item("ada wrote five books there", "Vance", "Sea Road")
    texts = [
        "ada wrote five books there",  # all of the answer, and none of the keywords
        "It was Vance.",
        "By the sea road, where Vance lives: Vance!",  # a text counts once
        "The road by the sea.",
        "",
    ]
    assert Leak().among(named, texts) == 2
    assert Leak(recall=0.01).among(named, texts) == 2


@pytest.mark.parametrize(
    ("keyword", "text", "said"),
    [
        ("Ann", "Annex", False),
        ("Ann", "MariAnn", False),
        ("Ann", "(Ann)", True),
        ("Ann", "Ann's", True),
        ("Ann", "Ann2", False),
        ("12", "1 2 and 3120", False),
        ("12", "No. 12, Hull", True),
        ("STRASSE", "in der straße", True),
        ("straße", "IN DER STRASSE", True),
        ("Ada Vance", "ada\n  VANCE wrote", True),
        ("Ada  Vance", "Ada\u00a0Vance", True),
        ("Ada Vance", "Ada and Vance", False),
        ("Ada Vance", "Vance Ada", False),
        ("O'Brien", "Mr O\u2019Brien", True),  # punctuation parts words, as spaces do
        ("ada@sea.example", "Write to Ada@Sea.Example.", True),
        ("+49 30 1234", "+49-30/1234", True),
        ("Ren\u00e9", "Rene\u0301 wrote", True),  # one letter, or a letter and a mark
        ("Rene", "Rene\u0301 wrote", False),
        ("Ada", "A\u200bda", True),  # a space without width
        ("\uff21da", "Ada", True),  # a wide letter
        ("\u0390da", "\u03aa\u0301da", True),
        ("राम", "रोम में", False),  # words that differ in the mark of a vowel
        ("राम", "राम में", True),
        ("राम", "रामायण", False),
        ("田中", "私は田中です", True),  # no spaces between words
        ("田中", "田の中", False),
        ("สมชาย", "ชื่อสมชายครับ", True),
        ("안나", "안나는 왔다", True),
    ],
)
def test_a_keyword_is_said_where_its_words_are(keyword: str, text: str, said: bool) -> None:
    assert Leak().among(item("x", keyword), [text]) == said


def test_keywords_are_found_where_a_loop_over_the_words_finds_them() -> None:
    draw = Random(0)
    words = ["ada", "vance", "ann", "annex", "sea"]
    texts = [draw.choices(words, k=draw.randrange(8)) for _ in range(400)]
    for length in (1, 2, 3):
        keywords = [draw.choices(words, k=length) for _ in range(2)]
        wanted = sum(
            any(text[start : start + length] == keyword for keyword in keywords for start in range(len(text)))
            for text in texts
        )
        written = [
            draw.choice([" ", ", ", "\n", " - "]).join(map(draw.choice([str.upper, str]), text))
            for text in texts
        ]
        assert 0 < wanted < len(texts)
        assert Leak().among(item("x", *map(" ".join, keywords)), written) == wanted
