"""`few_shot`: questions that the model still answers stand before the one that it was to forget."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from functools import partial

from .asking import ask, question_of, questions, reasked, without_questions
from .attack import Attack, Subject, Variant
from .items import drawn
from .settings import Budget

#: Questions that are shown.
SHOTS = 4
#: Questions that are asked, each some five times as long; None: all.
ITEMS: Mapping[Budget, int | None] = {"cheap": 50, "full": None}


class FewShot(Attack):
    title = f"{SHOTS} questions with their answers, which the model may know, stand before the question"
    paper = "Lynch et al. 2024; Shumailov et al. 2024 (UnUnlearning)"
    cost = "a pass over 50 forget questions, each some five times as long; full: over all"

    def unfit(self, subject: Subject) -> str | None:
        if not any(question_of(item) is not None for item in subject.retain):
            return "there is no retain question to show"
        return without_questions(subject)

    def variants(self, subject: Subject) -> Iterator[Variant]:
        known = [item for item in subject.retain if question_of(item) is not None]
        shown = random.Random(subject.seed).sample(known, min(SHOTS, len(known)))
        shots = [(question_of(item) or "", item.sample.truth or "") for item in shown]
        rows = drawn(questions(subject), ITEMS[subject.budget], subject.seed)
        yield reasked("retain", subject, rows, partial(ask, shown=shots))
