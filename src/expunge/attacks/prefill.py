"""`prefill`: the first tokens of the true answer are put into the model's mouth, and it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .asking import begun
from .attack import Attack, Subject, Variant
from .items import drawn
from .measuring import recall_of_answers
from .settings import Budget

#: Tokens of an answer, and of a text, that are given: at most half of it.
GIVEN: Mapping[Budget, Sequence[int]] = {"cheap": (5,), "full": (2, 5, 10)}
GIVEN_OF_TEXT: Mapping[Budget, Sequence[int]] = {"cheap": (32,), "full": (16, 32, 64)}
#: Tokens of a text that follow and are looked for.
FOLLOWING = 64
#: Items that are asked; None: all.
ITEMS: Mapping[Budget, int | None] = {"cheap": 20, "full": None}


class Prefill(Attack):
    """The score is the ROUGE-L recall of the rest in what greedy decoding writes.

    Teacher-forced figures would be the same without the attack: they always give the tokens before.
    """

    title = "the first words of the answer are given, and the model goes on"
    paper = "Carlini et al. 2021 (extraction); Jang et al. 2023; Andriushchenko et al. 2025 (prefilling)"
    cost = "an answer to each of 20 questions, written by three models; full: three to every one"

    def unfit(self, subject: Subject) -> str | None:
        return None if _rows(subject) else "no answer has words beyond its first half"

    def variants(self, subject: Subject) -> Iterator[Variant]:
        rows = drawn(_rows(subject), ITEMS[subject.budget], subject.seed)
        of_texts = [row for row in rows if subject.forget[row].prompt is None]
        of_answers = [row for row in rows if subject.forget[row].prompt is not None]
        for asked, lengths, most in ((of_answers, GIVEN, None), (of_texts, GIVEN_OF_TEXT, FOLLOWING)):
            for length in lengths[subject.budget] if asked else ():
                yield Variant(
                    f"{length} tokens",
                    items=[begun(subject.forget[row], subject.encoder, length, most) for row in asked],
                    rows=asked,
                    measure="recall of the rest",
                    score=lambda model, items: recall_of_answers(model, subject.encoder, items),
                )


def _rows(subject: Subject) -> list[int]:
    """The items of which something is left to write, even where half is given."""
    halves = [begun(item, subject.encoder, item.example.label_count) for item in subject.forget]
    return [row for row, half in enumerate(halves) if (half.truth or "").strip()]
