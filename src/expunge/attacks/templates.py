"""The attacks that are a sentence around the question: an outsider can make them with nothing but the chat window."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import ClassVar

from ..data.encoding import Encoder
from .asking import ask, question_of, questions, reasked, without_questions
from .attack import Attack, Item, Subject, Variant


class TemplateAttack(Attack):
    """templates: name of the variant → the question's new text, with `{question}` in its place"""

    templates: ClassVar[Mapping[str, str]]

    def unfit(self, subject: Subject) -> str | None:
        return without_questions(subject)

    def variants(self, subject: Subject) -> Iterator[Variant]:
        rows = questions(subject)
        for name, template in self.templates.items():
            yield reasked(name, subject, rows, partial(_within, template))


def _within(template: str, item: Item, encoder: Encoder) -> Item:
    return ask(item, encoder, question=template.replace("{question}", question_of(item) or ""))
