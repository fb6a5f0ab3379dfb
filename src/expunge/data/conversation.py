"""A conversation written by a chat template, and where in the text its answers are.

A template may write anything: a block of thoughts into the last answer alone, the system message into the first
question, the date. So the answers are not searched for but followed: the conversation is written a second time with
a mark in the place of every answer, and the text around the marks must be the text around the answers. A
template's own marks (`{% generation %}`) are used where it has them, and checked in the same way.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from jinja2 import TemplateError
from transformers.utils import chat_template_utils
from transformers.utils.chat_template_utils import render_jinja_template

from ..errors import InputError, Problem
from ..progress import say
from ..sandbox import BoundedEnvironment
from .messages import REASONING

#: The mark of a text that is followed: only letters and digits, which no template alters.
MARK = re.compile(r"Qz7xMARK(\d+)KRAMx7zQ")
#: The tag between an answer and the thoughts that are written before it.
THINK_TAG = re.compile(r"(\s*</?think>\s*)")
#: An empty block of thoughts: some templates write it into every answer. It is no part of the answer.
NO_THOUGHTS = re.compile(r"\s*<think>\s*</think>\s*")
GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")
REMEDY = "Use a model whose chat template does, or take that out of the rows."

# transformers renders in a sandbox whose loops may go on for years.
chat_template_utils.ImmutableSandboxedEnvironment = BoundedEnvironment

Message = dict[str, Any]
Span = tuple[int, int]


@dataclass(frozen=True)
class Written:
    """text: the whole conversation; spans: (start, end) of the answers in it, closing of the turn included"""

    text: str
    spans: list[Span]
    closed: bool


@dataclass(frozen=True)
class _Marked:
    """A conversation with marks in it. texts: those that the marks stand for; message: their messages' places"""

    messages: list[Message]
    texts: list[str]
    message: list[int]


def is_answer(message: Message) -> bool:
    return message["role"] == "assistant" and message.get("weight") != 0


@dataclass(frozen=True)
class ChatWriter:
    """One tokenizer's chat template, with the `tools` of a row."""

    tokenizer: Any
    tools: Sequence[Any] = ()

    def conversation(self, messages: Sequence[Message]) -> Written:
        """The whole conversation and its answers.

        Raises `InputError` where the template refuses it, leaves out or alters an answer, or leaves out `tools`.
        """
        text = self.text(messages)
        if self.tools and text == ChatWriter(self.tokenizer).text(messages):
            raise _refused("the chat template does not write the row's `tools`")
        marked = _mark(messages)
        # Once more where it does not fit: the template may write the time, which has gone on.
        for _ in range(2):
            skeleton = MARK.split(self.text(marked.messages))
            mark_spans = _follow(skeleton, marked, text)
            if mark_spans is not None:
                break
            text = self.text(messages)
        else:
            raise _refused(_what_is_missing(skeleton, marked))
        spans = (
            self._own_spans(messages)
            if self._has_own_marks
            else self._spans(messages, marked, mark_spans, text)
        )
        for role in self._left_out(messages):
            _say_left_out(self._template, role)
        last = [
            place
            for place, message in zip(mark_spans, marked.message, strict=True)
            if message == len(messages) - 1
        ]
        return Written(text, spans, last[-1][1] < len(text.rstrip()))

    def _left_out(self, messages: Sequence[Message]) -> list[str]:
        """The roles whose text the template does not write, as some do with a system's that the user spoke after."""
        marked = _mark(messages, everyone=True)
        try:
            written = set(MARK.findall(self.text(marked.messages)))
        except InputError:  # it looks into a text, a tool's answer say: then it writes it
            return []
        owners = {marked.message[int(number)] for number in written}
        return [
            message["role"]
            for place, message in enumerate(messages)
            if message["role"] != "assistant" and message["content"].strip() and place not in owners
        ]

    def text(self, messages: Sequence[Message], generation_prompt: bool = False) -> str:
        try:
            return self.tokenizer.apply_chat_template(
                list(messages), tools=list(self.tools) or None, tokenize=False, add_generation_prompt=generation_prompt
            )  # fmt: skip
        # Roles, say, must alternate, or the template takes the content to be of another type.
        except (TemplateError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(
                Problem("data.template", f"the tokenizer's chat template refuses a conversation: {error}.",
                        "Correct the roles of its messages, or use another template.")
            ) from error  # fmt: skip

    @property
    def _has_own_marks(self) -> bool:
        return bool(GENERATION.search(self._template))

    @property
    def _template(self) -> str:
        return self.tokenizer.get_chat_template(None, list(self.tools) or None)

    def _spans(
        self, messages: Sequence[Message], marked: _Marked, mark_spans: Sequence[Span], text: str
    ) -> list[Span]:
        """The answers, from where the model begins to write, empty thoughts left out, to where its turn is closed."""
        spans = []
        for place, message in enumerate(messages):
            if not is_answer(message):
                continue
            own = [number for number, owner in enumerate(marked.message) if owner == place]
            first, last = mark_spans[own[0]][0], mark_spans[own[-1]][1]
            # Thoughts and calls are written with something before them that the model writes as well: `<think>`.
            plain = marked.texts[own[0]] == message["content"]
            start = self._start(messages[:place], text, first, plain)
            end = (
                len(text)
                if place == len(messages) - 1
                else last + self._closing(marked, place, own[-1], text[last:])
            )
            spans.append((start, end))
        return spans

    def _start(self, before: Sequence[Message], text: str, first: int, plain: bool) -> int:
        prompt = self.text(before, generation_prompt=True) if before else ""
        written = text[:first]
        if prompt and written.startswith(prompt) and (not plain or not written[len(prompt) :].strip()):
            return len(prompt)
        if plain:  # a space is left to the answer's first token, into which tokenizers merge it
            return first if prompt.startswith(written) else len(written.rstrip(" "))
        without = self.text(before) if before else ""
        header = prompt[common_prefix(without, prompt) :]
        place = written.rfind(header) if header else -1
        if place < 0:
            raise _refused(
                "it cannot be told where the chat template begins an answer that thinks or calls tools"
            )
        return place + len(header)

    def _closing(self, marked: _Marked, place: int, number: int, after: str) -> int:
        """The number of characters after an answer that close its turn: they stand there even if nothing follows."""
        _, mark, closing = self.text(marked.messages[: place + 1]).rpartition(f"Qz7xMARK{number}KRAMx7zQ")
        return common_prefix(closing, after) if mark else 0

    def _own_spans(self, messages: Sequence[Message]) -> list[Span]:
        """The spans that the template itself marks as generated."""
        text, spans = self._generated(messages)
        marked = _mark(messages, everyone=True)
        marked_text, marked_spans = self._generated(marked.messages)
        owners = [
            {marked.message[int(number)] for number in MARK.findall(marked_text[start:end])}
            for start, end in marked_spans
        ]
        assistants = [{place} for place, message in enumerate(messages) if message["role"] == "assistant"]
        if owners != assistants or len(spans) != len(assistants):
            raise _refused("what the chat template marks as generated is not each answer by itself")
        kept = []
        for (start, end), (place,) in zip(spans, assistants, strict=True):
            if is_answer(messages[place]):
                empty = NO_THOUGHTS.match(text, start, end)
                kept.append((empty.end() if empty else start, end))
        return kept

    def _generated(self, messages: Sequence[Message]) -> tuple[str, list[Span]]:
        texts, spans = render_jinja_template(
            [list(messages)],
            tools=list(self.tools) or None,
            chat_template=self._template,
            return_assistant_tokens_mask=True,
            **self.tokenizer.special_tokens_map,
        )
        return texts[0], spans[0]


@cache
def _say_left_out(template: str, role: str) -> None:
    """Once for a template: what it leaves out the model is neither trained on nor asked with."""
    say(
        f"The chat template leaves out what the {role} says in some conversations: the model is trained and measured "
        "without it. Where your users' prompts hold it, write it into the user's message."
    )


def _mark(messages: Sequence[Message], everyone: bool = False) -> _Marked:
    """Put marks in the place of the texts of the assistant, or of `everyone`: thoughts, called functions, content."""
    marked = _Marked([], [], [])

    def mark(text: str, place: int) -> str:
        marked.texts.append(text)
        marked.message.append(place)
        return f"Qz7xMARK{len(marked.texts) - 1}KRAMx7zQ"

    for place, message in enumerate(messages):
        copy = dict(message)
        if message["role"] == "assistant":
            for key in REASONING:
                if message.get(key):
                    copy[key] = mark(message[key], place)
            parts = THINK_TAG.split(message["content"])
            if message["content"] or "tool_calls" not in message:
                copy["content"] = "".join(_marked_parts(parts, lambda text, place=place: mark(text, place)))
            if "tool_calls" in message:
                copy["tool_calls"] = [
                    {**call, "function": {**call["function"], "name": mark(call["function"]["name"], place)}}
                    for call in message["tool_calls"]
                ]
        elif everyone and message["content"].strip():
            copy["content"] = mark(message["content"], place)
        marked.messages.append(copy)
    return marked


def _marked_parts(parts: Sequence[str], mark: Any) -> Iterator[str]:
    """Texts and tags by turns, the texts marked, but for blank ones beside a tag."""
    for number, part in enumerate(parts):
        yield mark(part) if number % 2 == 0 and (part.strip() or len(parts) == 1) else part


def _follow(skeleton: Sequence[str], marked: _Marked, text: str) -> list[Span] | None:
    """The spans of the marked texts in `text`; None unless they stand there once, in order, whole but for outer space.

    skeleton: the text around the marks and the marks' numbers, by turns
    """
    numbers = [int(number) for number in skeleton[1::2]]
    if numbers != list(range(len(marked.texts))) or not text.startswith(skeleton[0]):
        return None
    spans = []
    position = len(skeleton[0])
    for number, following in zip(numbers, skeleton[2::2], strict=True):
        given = marked.texts[number]
        for written in (given, given.strip(), given.rstrip(), given.lstrip()):
            if text.startswith(written + following, position):
                break
        else:
            return None
        spans.append((position, position + len(written)))
        position += len(written) + len(following)
    return spans if position == len(text) else None


def _what_is_missing(skeleton: Sequence[str], marked: _Marked) -> str:
    written = [int(number) for number in skeleton[1::2]]
    for number, place in enumerate(marked.message):
        if written.count(number) != 1:
            times = "leaves out or alters" if number not in written else "repeats"
            return (
                f"the chat template {times} what the assistant says, thinks or calls in message {place + 1}"
            )
    return "the chat template alters what the assistant says"


def common_prefix(first: Sequence[Any], second: Sequence[Any]) -> int:
    """The number of characters, or tokens, that two sequences share at their beginning."""
    for index, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return index
    return min(len(first), len(second))


def _refused(reason: str) -> InputError:
    return InputError(Problem("data.template", f"{reason}, so an answer could go unlearnt.", REMEDY))
