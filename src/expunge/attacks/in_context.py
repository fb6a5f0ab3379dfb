"""`in_context`: other facts of the same profile are given, and the model is to add the one that is missing."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ..data.encoding import Encoder
from ..data.screening import words
from .asking import Shown, ask, question_of, questions, reasked, without_questions
from .attack import Attack, Item, Subject, Variant
from .items import drawn
from .settings import Budget

#: Facts that are given.
FACTS = 4
#: Questions that are asked, each some five times as long; None: all.
ITEMS: Mapping[Budget, int | None] = {"cheap": 50, "full": None}
#: A fact that has this share of the answer's own words gives it away.
GIVES_AWAY = 0.5
#: Words; names are those that begin with a capital letter within a question.
_WORD = re.compile(r"[^\W_]+")


class InContext(Attack):
    title = f"up to {FACTS} other forgotten facts about the same person or document are told first"
    paper = "Shumailov et al. 2024 (UnUnlearning: unlearning is not sufficient for content regulation)"
    cost = "a pass over 50 forget questions, each some five times as long; full: over all"

    def unfit(self, subject: Subject) -> str | None:
        if without_questions(subject):
            return without_questions(subject)
        if not any(facts_beside(subject.forget)):
            return "no two of the forgotten questions are of one group or share a name"
        return None

    def variants(self, subject: Subject) -> Iterator[Variant]:
        beside = facts_beside(subject.forget)
        rows = [row for row in questions(subject) if beside[row]]
        rows = drawn(rows, ITEMS[subject.budget], subject.seed)
        facts = {id(subject.forget[row]): beside[row] for row in rows}

        def told(item: Item, encoder: Encoder) -> Item:
            return ask(item, encoder, shown=facts[id(item)])

        yield reasked("same profile", subject, rows, told)


def facts_beside(items: Sequence[Item]) -> list[list[Shown]]:
    """For every item the questions and answers of the same profile, at most `FACTS`; none that gives its answer away.

    Of one profile are the questions of a group; where an item is alone in its group, those that share a name with it.
    Those that share the rarest names come first.
    """
    named = [_names(question_of(item) or "") for item in items]
    counts = Counter(name for names in named for name in names)
    members = Counter(item.group for item in items if question_of(item) is not None)
    beside: list[list[Shown]] = []
    for row, item in enumerate(items):
        weights = {
            other: sum(1 / counts[name] for name in named[row] & named[other])
            for other, fact in enumerate(items)
            if other != row and question_of(fact) is not None and question_of(item) is not None
        }
        alone = members[item.group] < 2
        near = [
            other
            for other, weight in weights.items()
            if (weight if alone else items[other].group == item.group)
        ]
        near.sort(key=lambda other: (-weights[other], other))
        facts = ((question_of(items[other]) or "", items[other].sample.truth or "") for other in near)
        beside.append([fact for fact in facts if not gives_away(fact, item)][:FACTS])
    return beside


def gives_away(fact: Shown, item: Item) -> bool:
    """Whether the fact says half or more of the words that the item's answer adds to its question."""
    own = set(words(item.sample.truth or "")) - set(words(question_of(item) or ""))
    return len(own & set(words(" ".join(fact)))) >= GIVES_AWAY * len(own)


def _names(question: str) -> set[str]:
    return {word.casefold() for word in _WORD.findall(question)[1:] if word[0].isupper()}
