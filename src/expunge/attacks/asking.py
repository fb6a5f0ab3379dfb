"""Other ways to ask for the same answer: a question rewritten, examples before it, the answer's beginning given.

The labels are those of the true answer alone, its closing included: what an attacker adds is never scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from ..data.conversation import common_prefix
from ..data.encoding import Encoder, Example
from ..data.samples import Conversation, QuestionAnswer
from ..data.templates import ChatTemplate
from ..models.answers import IGNORED
from ..models.window import window_of
from .attack import Item, Subject, Variant

#: Longest sequence that an attack writes, in tokens, where the model can read as much and the run no more.
ROOM = 2048
#: Why an attack does not apply to texts.
NO_QUESTIONS = "it rewrites questions, and what was forgotten are texts"

#: A question and its answer that are shown before another question.
Shown = tuple[str, str]


def question_of(item: Item) -> str | None:
    """The question, or the last turn of the user before the last answer; None where there is none, as of a text."""
    if isinstance(item.sample, QuestionAnswer):
        return item.sample.question
    if isinstance(item.sample, Conversation) and (place := _last_question(item.sample)) is not None:
        return item.sample.turns[place][1]
    return None


def questions(subject: Subject) -> list[int]:
    """The places of the items that ask a question."""
    return [row for row, item in enumerate(subject.forget) if question_of(item) is not None]


def without_questions(subject: Subject) -> str | None:
    """Why what rewrites questions does not apply; None where it does."""
    return None if questions(subject) else NO_QUESTIONS


def reasked(
    name: str,
    subject: Subject,
    rows: Sequence[int],
    change: Callable[[Item, Encoder], Item],
    plain: Callable[[Item, Encoder], Item] | None = None,
) -> Variant:
    """The variant that asks the items at the places `rows` as `change` makes them.

    plain: makes them as they are asked without the attack, where other tokens count than otherwise
    """
    encoder = with_room(subject)
    asked = [subject.forget[row] for row in rows]
    items = [change(item, encoder) for item in asked]
    plain_items = [(plain or ask)(item, encoder) for item in asked]
    counted = any(
        _answer(one.example) != _answer(item.example) for one, item in zip(plain_items, asked, strict=True)
    )
    return Variant(
        name,
        items=items,
        rows=None if len(rows) == len(subject.forget) else rows,
        plain=plain_items if counted else None,
    )


def with_room(subject: Subject) -> Encoder:
    """The encoder with room for what is asked beside the question."""
    window = window_of(subject.model.config)
    return replace(subject.encoder, max_length=max(subject.encoder.max_length, min(window, ROOM)))


def ask(
    item: Item,
    encoder: Encoder,
    *,
    question: str | None = None,
    shown: Sequence[Shown] = (),
    given: str = "",
    answer: str | None = None,
) -> Item:
    """The item as an attacker asks it; of a conversation the last answer counts.

    question: in the place of its question
    shown:    questions with their answers, before it; the first are left out where the encoder's longest sequence has
              no room for all
    given:    the beginning of the answer, which the model is made to have said
    answer:   in the place of the true answer; an answer that the item cuts off is cut off at the same length

    Raises `InputError` as the encoder does.
    """
    truth = item.sample.truth or "" if answer is None else answer
    for first in range(len(shown) + 1):
        messages, tools = _messages(item.sample, encoder, question, shown[first:])
        example, start = _encoded(encoder, messages, tools, given, truth)
        if not example.cut:
            break
    end = start + item.example.label_count if item.example.cut else len(example)
    ids = example.input_ids[:end]
    labels = [IGNORED] * start + example.labels[start:end]
    cut = example.cut or item.example.cut
    return replace(item, example=Example(ids, labels, cut), prompt=ids[:start], truth=truth)


def begun(item: Item, encoder: Encoder, tokens: int, most: int | None = None) -> Item:
    """The item with the first `tokens` labels given, at most half of them: the rest is the answer.

    most: labels of the rest that are kept; None: all
    """
    labels = item.example.labels
    places = [place for place, label in enumerate(labels) if label != IGNORED and place]
    first = min(tokens, len(places) // 2)
    rest = places[first:][:most]
    start, end = (rest[0], rest[-1] + 1) if rest else (len(labels), len(labels))
    ids = item.example.input_ids[:end]
    return replace(
        item,
        example=Example(ids, [IGNORED] * start + labels[start:end], item.example.cut),
        prompt=ids[:start],
        truth=encoder.tokenizer.decode([labels[place] for place in rest], skip_special_tokens=True),
    )


def _answer(example: Example) -> list[int]:
    return [label for label in example.labels[1:] if label != IGNORED]


def _encoded(
    encoder: Encoder, messages: list[dict[str, Any]], tools: Sequence[Any], given: str, truth: str
) -> tuple[Example, int]:
    """The conversation with `truth` after `given` as its last answer, and where the tokens of `truth` begin."""
    if not given:
        said = [*messages[:-1], {**messages[-1], "content": truth}]
        return encoder.messages(said, tools), len(encoder.prompt_of(said, tools))
    opening, said = (
        [*messages[:-1], {"role": "assistant", "content": content}] for content in (given, f"{given} {truth}")
    )
    example = encoder.messages(said, tools)
    return example, common_prefix(encoder.messages(opening, tools).input_ids, example.input_ids)


def _messages(
    sample: Any, encoder: Encoder, question: str | None, shown: Sequence[Shown]
) -> tuple[list[dict[str, Any]], Sequence[Any]]:
    """The messages up to the last answer, with `question` in the place of the last one and `shown` before it."""
    if isinstance(sample, QuestionAnswer):
        sample = Conversation((("user", sample.question), ("assistant", sample.answer)))
    messages = sample.messages[: sample.answers[-1] + 1]
    place = _last_question(sample)
    if place is None:
        return messages, sample.tools
    asked = messages[place]["content"] if question is None else question
    if isinstance(encoder.template, ChatTemplate):
        before = [
            {"role": role, "content": content}
            for turn in shown
            for role, content in zip(("user", "assistant"), turn, strict=True)
        ]
    else:  # the template writes one question, and so all that is shown is part of it
        before = []
        opening = encoder.template.prompt.partition("{question}")[0]
        turns = [*(encoder.template.render(*turn) for turn in shown), opening + asked]
        asked = "\n\n".join(turns).removeprefix(opening)
    messages[place : place + 1] = [*before, {**messages[place], "content": asked}]
    return messages, sample.tools


def _last_question(sample: Conversation) -> int | None:
    before = sample.turns[: sample.answers[-1]]
    return max((place for place, (role, _) in enumerate(before) if role == "user"), default=None)
