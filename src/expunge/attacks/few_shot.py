"""`few_shot`: questions that the model still answers stand before the one that it was to forget."""

from __future__ import annotations

import random
from collections.abc import Iterator
from functools import partial

from .asking import ask, question_of, questions, reasked, without_questions
from .attack import Attack, Subject, Variant

#: Questions that are shown.
SHOTS = 4


class FewShot(Attack):
    title = f"{SHOTS} questions with their answers, which the model may know, stand before the question"
    paper = "Lynch et al. 2024; Shumailov et al. 2024 (UnUnlearning)"
    cost = "a pass over the forget questions, each some five times as long"

    def unfit(self, subject: Subject) -> str | None:
        if not any(question_of(item) is not None for item in subject.retain):
            return "there is no retain question to show"
        return without_questions(subject)

    def variants(self, subject: Subject) -> Iterator[Variant]:
        known = [item for item in subject.retain if question_of(item) is not None]
        shown = random.Random(subject.seed).sample(known, min(SHOTS, len(known)))
        shots = [(question_of(item) or "", item.sample.truth or "") for item in shown]
        yield reasked("retain", subject, questions(subject), partial(ask, shown=shots))
