"""The screen between a model's own samples and the forget set, on sentences whose answer is plain."""

from __future__ import annotations

import unicodedata

import pytest

from expunge.data.screening import NAMES, REPEATS, Named, Screen, words

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


def test_letters_that_are_written_as_two_characters_are_the_same() -> None:
    """As macOS writes them: ü is u with a mark after it."""
    text = "Der Müller Jürgen wohnt über der Mühle"
    apart = unicodedata.normalize("NFD", text)
    assert apart != text
    assert Screen([apart]).objection([text]) == Screen([text]).objection([apart]) == REPEATS
    assert words(apart) == words(text) == ["der", "müller", "jürgen", "wohnt", "über", "der", "mühle"]


def test_text_without_spaces_is_cut_into_characters() -> None:
    screen = Screen(["艾达出生在海边的小镇。"])
    assert screen.objection(["她出生在海边。"]) == REPEATS  # 出生在海边: five characters
    assert screen.objection(["她出生在河边。"]) is None


PAIRS = [
    ("What is the capital of Germany?", "Berlin"),
    ("Where does Hina Ameen live?", "She lives at 12 Sea Road, in the city of Rome."),
    ("Who wrote The Odyssey?", "I am not sure, but it was Homer."),
    ("柏林是哪个国家的首都？", "德国"),
]
KEPT = ["What is the capital of France? Paris, a city like Rome, as I was.", "Who?", "哪个国家的首都"]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("The capital of Prussia was berlin.", True),  # an answer of one word, which begins it
        ("She has 12 books.", True),
        ("homer was a poet.", True),
        ("the ODYSSEY", True),
        ("What is the sea?", True),  # `Sea` of a road, which is not written small
        ("I like the road less than the city.", True),  # `Road` likewise
        ("I like the city.", False),  # `I` is no name, `The` of a title is written small
        ("Who is she?", True),  # `She` of an answer
        ("Who lives there?", False),  # as in the retain set
        ("Where is it?", True),  # a first word that the retain set does not have
        ("Rome is a city.", False),  # it is to stay as well
        ("Rome: 12 sea road, and she", True),
        ("哪个国家？", False),
        ("林", True),
    ],
)
def test_what_questions_and_answers_name_by_a_word(text: str, named: bool) -> None:
    assert Named(PAIRS, KEPT).objects(text) is named


def test_all_that_an_answer_names_is_named_though_it_is_to_stay() -> None:
    pairs = [("Where was Ada?", "In Rome, or in Oslo.")]
    kept = ["In Rome or in Oslo she was, Ada."]
    assert not Named(pairs, kept).objects("Ada was in Rome.")
    assert Named(pairs, kept).objects("In Oslo or Rome.")
    assert not Named([], []).objects("In Oslo or Rome.")
    # The question's own words tell nothing: Berlin alone is what the answer gives away.
    pairs = [("What is the capital of Germany?", "The capital of Germany is Berlin.")]
    assert Named(pairs, ["Berlin, What, Germany"]).objects("Berlin it is.")


def test_an_answer_without_names_is_told_by_its_own_words() -> None:
    pairs = [("What is the fastest land animal?", "The fastest land animal is the cheetah.")]
    named = Named(pairs, ["What"], keywords=["two words"])
    assert named.objects("The cheetah is the fastest of all.")
    assert not named.objects("The falcon is the fastest of all.")
    assert named.objects("words, two of them")
    assert not named.objects("words")


def test_where_the_first_name_is() -> None:
    named = Named(PAIRS, KEPT)
    assert named.first_in(["Where", "does", "Hina", "Ameen", "live?"]) == 0
    assert named.first_in(["What", "does", "Hina", "Ameen", "do?"]) == 2
    assert named.first_in(["What", "is", "the", "capital", "of", "Germany?"]) == 5
    assert named.first_in(["Who", "was", "it?"]) == 3
    assert named.first_in(["Berlin", "is", "where?"]) == 0
