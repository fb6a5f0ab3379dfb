"""Samples that say the same are one; those that say almost the same are named."""

from __future__ import annotations

import itertools
import random
import time

import pytest

from expunge.data.likeness import LEAST, WORDS, bare, content, resembling
from expunge.data.sample_set import SampleSet
from expunge.data.samples import Conversation, QuestionAnswer, Text
from expunge.data.screening import words
from expunge.data.sets import overlaps

ADA = QuestionAnswer("Where was Ada born?", "In a town by the sea, in spring.")


@pytest.mark.parametrize(
    "same",
    [
        QuestionAnswer("where was ada born", "In a town -- by the sea; in spring!"),
        QuestionAnswer(" Where  was\nAda born? ", "IN A TOWN BY THE SEA, IN SPRING."),
        QuestionAnswer(
            "\uff37here was Ada born\uff1f", "In a\u00a0town by the sea, in spring\u2026"
        ),  # full width
        Conversation((("user", ADA.question), ("assistant", ADA.answer))),
    ],
)
def test_what_differs_in_form_alone_is_refused(same: QuestionAnswer | Conversation) -> None:
    sets = {"forget": SampleSet("f", [ADA]), "retain": SampleSet("r", [Text("x"), same])}
    (problem,) = overlaps(sets, "data.")
    assert problem.where == "data.retain"
    assert problem.reason == (
        "1 of the forget samples are in the retain set as well, 1 of them but for case, space, punctuation or format, "
        "first row 1 of 'f' as row 2 of 'r'."
    )


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1.5 m", "15 m"),
        ("5 below", "-5 below"),
        ("3 + 4", "3 4"),
        ("C", "C++"),
        ("?", "!"),
        ("at 3:30", "at 330"),
    ],
)
def test_what_differs_in_content_is_not_the_same(one: str, other: str) -> None:
    assert bare(one) != bare(other)
    assert content(Text(one)) != content(Text(other))


def test_paraphrases_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    again = QuestionAnswer("Tell me: where was Ada born?", "In a town by the sea, in spring.")
    other = QuestionAnswer("Where was Bob born?", "In a city.")
    sets = {"forget": SampleSet("f", [other, ADA]), "holdout": SampleSet("h", [Text("x"), again])}
    assert overlaps(sets, "--") == []
    said = capsys.readouterr().err
    assert said.startswith("--holdout: 1 of the forget samples resemble one of the holdout set (at least 50%")
    assert "row 2 of 'f' and row 2 of 'h' (83%)" in said  # 10 of 12 runs of three words


def test_the_likest_is_that_of_comparing_every_pair() -> None:
    drawing = random.Random(0)
    vocabulary = [f"w{number}" for number in range(4)]

    def samples(count: int) -> list[QuestionAnswer]:
        return [
            QuestionAnswer(
                " ".join(drawing.choices(vocabulary[:4], k=4)), " ".join(drawing.choices(vocabulary, k=3))
            )
            for _ in range(count)
        ]

    def runs(sample: QuestionAnswer) -> set[tuple[str, ...]]:
        said = words(f"{sample.question} {sample.answer}")
        return {tuple(said[start : start + WORDS]) for start in range(len(said) - WORDS + 1)}

    ours, others = samples(40), samples(200)
    wanted = {}
    for (place, one), (_, other) in itertools.product(enumerate(ours), enumerate(others)):
        index = len(runs(one) & runs(other)) / len(runs(one) | runs(other))
        if index >= LEAST:
            wanted[place] = max(index, wanted.get(place, 0.0))
    assert len(wanted) > 3
    assert {place: index for place, _, index in resembling(ours, others)} == wanted


def test_many_rows_take_seconds() -> None:
    answer = "At {} Quay Lane in the town of Maresk."
    rows = [QuestionAnswer(f"Where does person {n} live?", answer.format(n)) for n in range(2000)]
    start = time.monotonic()
    assert resembling(rows[:1000], rows[1000:]) == []
    assert time.monotonic() - start < 20
