"""`in_context`: other facts of the same profile are given, and the model is to add the one that is missing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from ..data.encoding import Encoder
from ..data.screening import words
from .asking import Shown, ask, question_of, questions, reasked, without_questions
from .attack import Attack, Item, Subject, Variant

#: Facts that are given.
FACTS = 4
#: A fact that has this share of the answer's own words gives it away.
GIVES_AWAY = 0.5
#: A word in more than this share of the questions tells no profile.
COMMON = 0.25


class InContext(Attack):
    title = f"up to {FACTS} other forgotten facts about the same person or document are told first"
    paper = "Shumailov et al. 2024 (UnUnlearning: unlearning is not sufficient for content regulation)"
    cost = "a pass over the forget questions, each some five times as long"

    def unfit(self, subject: Subject) -> str | None:
        if without_questions(subject):
            return without_questions(subject)
        if not any(facts_beside(subject.forget)):
            return "no two of the forgotten questions are about the same person or document"
        return None

    def variants(self, subject: Subject) -> Iterator[Variant]:
        beside = facts_beside(subject.forget)
        rows = [row for row in questions(subject) if beside[row]]
        facts = {id(subject.forget[row]): beside[row] for row in rows}

        def told(item: Item, encoder: Encoder) -> Item:
            return ask(item, encoder, shown=facts[id(item)])

        yield reasked("same profile", subject, rows, told)


def facts_beside(items: Sequence[Item]) -> list[list[Shown]]:
    """For every item the questions and answers of the same profile, at most `FACTS`; none that gives its answer away.

    Of one profile are the items of its group, first those whose questions share the rarest words; where an item is
    alone in its group, those whose questions share a word with it that is rare among all questions.
    """
    said = [set(words(question_of(item) or "")) for item in items]
    known = sum(map(bool, said))
    counts = Counter(word for each in said for word in each)
    members = Counter(item.group for item in items)
    beside: list[list[Shown]] = []
    for row, item in enumerate(items):
        weights = {
            other: sum(1 / counts[word] for word in said[row] & said[other] if counts[word] <= COMMON * known)
            for other in range(len(items))
            if other != row and said[row] and said[other]
        }
        if members[item.group] > 1:
            near = [other for other in weights if items[other].group == item.group]
        else:
            near = [other for other, weight in weights.items() if weight]
        near.sort(key=lambda other: (-weights[other], other))
        facts = ((question_of(items[other]) or "", items[other].sample.truth or "") for other in near)
        beside.append([fact for fact in facts if not gives_away(fact, item)][:FACTS])
    return beside


def gives_away(fact: Shown, item: Item) -> bool:
    """Whether the fact says half or more of the words that the item's answer adds to its question."""
    own = set(words(item.sample.truth or "")) - set(words(question_of(item) or ""))
    return len(own & set(words(" ".join(fact)))) >= GIVES_AWAY * len(own)
