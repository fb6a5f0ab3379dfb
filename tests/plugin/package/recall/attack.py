"""`shout`: the question in capital letters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from expunge.attacks.attack import Attack, Item, Subject, Variant
from expunge.data.encoding import Encoder
from expunge.data.samples import QuestionAnswer


class Shout(Attack):
    title = "the question is asked in capital letters"
    paper = "none; an example"
    cost = "a pass over the forget questions"

    def unfit(self, subject: Subject) -> str | None:
        asked = all(isinstance(item.sample, QuestionAnswer) for item in subject.forget)
        return None if asked else "there are no questions to ask"

    def variants(self, subject: Subject) -> Iterator[Variant]:
        yield Variant("capitals", items=[shouted(item, subject.encoder) for item in subject.forget])


def shouted(item: Item, encoder: Encoder) -> Item:
    """The same item, asked loudly."""
    assert isinstance(item.sample, QuestionAnswer)
    sample = QuestionAnswer(item.sample.question.upper(), item.sample.answer)
    return replace(item, sample=sample, example=sample.encode(encoder)[0], prompt=sample.prompt(encoder))
