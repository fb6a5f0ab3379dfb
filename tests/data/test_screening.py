"""The screen between a model's own samples and the forget set, on sentences whose answer is plain."""

from __future__ import annotations

import pytest

from expunge.data.screening import NAMES, REPEATS, Screen, told_words

FORGET = [
    "Where was the geologist Hina Ameen born?",
    "she was born near the harbour of Karachi, in 1975.",
    "an oil-merchant",
    "her uncle, a merchant, sold Real Estate for her",
    "Yes.",
]


@pytest.fixture(scope="module")
def screen() -> Screen:
    return Screen(FORGET)


@pytest.mark.parametrize(
    ("texts", "objection"),
    [
        # Five words in a row, whatever their case and punctuation; four are not enough.
        (["Ada was BORN: near the harbour."], REPEATS),
        (["Ada was born near the sea."], None),
        (["Tell me of the harbour of Karachi in 1974."], REPEATS),
        # In any of the texts, but not across two of them.
        (["Who was it?", "One born near the harbour of the town."], REPEATS),
        (["She was born near", "the harbour of Rome."], None),
        # A forget text of fewer words counts as a whole; one of a single word not at all.
        (["Her mother is an oil merchant."], REPEATS),
        (["He is a merchant of an oil."], None),
        (["Yes."], None),
        # Capitalised words side by side are a name, also where the sample writes it small.
        (["Ameen, not Hina, wrote it."], None),
        (["It was hina ameen who wrote it."], NAMES),
        (["A Real Estate firm was sold."], NAMES),
        (["His Estate was a Real one."], None),
        (["Ada lived in Karachi."], None),
        ([], None),
    ],
)
def test_objection(screen: Screen, texts: list[str], objection: str | None) -> None:
    assert screen.objection(texts) == objection


def test_every_forget_text_of_two_words_or_more_is_caught(screen: Screen) -> None:
    assert [screen.objection([text]) for text in FORGET] == [REPEATS] * 4 + [None]


def test_text_without_spaces_is_cut_into_characters() -> None:
    screen = Screen(["艾达出生在海边的小镇。"])
    assert screen.objection(["她出生在海边。"]) == REPEATS  # 出生在海边: five characters
    assert screen.objection(["她出生在河边。"]) is None


def test_what_an_answer_gives_away_by_a_word() -> None:
    questions = ["What is the capital of Germany?", "Who is Ada?"]
    answers = [
        "The capital of Germany is Berlin. It lies on the Spree.",
        "Ada is a painter: Paris knows her, and so does Rome. Vienna does not.",
    ]
    # not The, It, Ada, Paris and Vienna, with which a sentence begins; not Germany, which was asked for
    assert told_words(questions, answers) == {"berlin", "spree", "rome"}
