"""A user's row as a sample: a question with its answer, a conversation, or a text."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from ..errors import InputError, Problem
from ..progress import say
from .columns import Columns
from .encoding import Encoder, Example
from .messages import NoMessage, read_messages, read_tools, unread
from .rows import LISTED, Row

#: Alpaca's columns. `input` is the second half of the question.
INSTRUCTION, INPUT, OUTPUT = "instruction", "input", "output"
#: ShareGPT's column of messages.
CONVERSATIONS = "conversations"


class Sample(Protocol):
    """A row that can be encoded. Two equal samples, which hash alike, hold the same content.

    `repr` is what the hashes of data in `run.json` are of.
    """

    def encode(self, encoder: Encoder) -> list[Example]:
        """One example, or several chunks of a long text."""

    def prompt(self, encoder: Encoder) -> list[int] | None:
        """Token ids that an answer can be generated from, None for plain text."""

    @property
    def truth(self) -> str | None:
        """The true answer, None for plain text."""


@dataclass(frozen=True)
class QuestionAnswer:
    """keywords: what a text must not say, such as a name; no part of the content, which is trained on and compared"""

    question: str
    answer: str
    keywords: tuple[str, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        keywords = _where_any("keywords", self.keywords)
        return f"QuestionAnswer(question={self.question!r}, answer={self.answer!r}{keywords})"

    def encode(self, encoder: Encoder) -> list[Example]:
        return [encoder.answer(self.question, self.answer)]

    def prompt(self, encoder: Encoder) -> list[int]:
        return encoder.prompt(self.question)

    @property
    def truth(self) -> str:
        return self.answer

    def with_answer(self, answer: str) -> QuestionAnswer:
        return QuestionAnswer(self.question, answer)


@dataclass(frozen=True)
class Conversation:
    """Turns as (role, content); every assistant turn is an answer, but those whose `weight` is 0.

    more: further input of the chat template, as a JSON object: `tools`, a list, and `messages`, {place: keys of the
          message there beside role and content}; empty where there is nothing
    keywords: as of `QuestionAnswer`
    """

    turns: tuple[tuple[str, str], ...]
    more: str = ""
    keywords: tuple[str, ...] = field(default=(), compare=False)

    def __repr__(self) -> str:
        beside = _where_any("more", self.more) + _where_any("keywords", self.keywords)
        return f"Conversation(turns={self.turns!r}{beside})"

    @property
    def messages(self) -> list[dict[str, Any]]:
        more = self._more.get("messages", {})
        return [
            {"role": role, "content": content, **more.get(str(place), {})}
            for place, (role, content) in enumerate(self.turns)
        ]

    @property
    def tools(self) -> list[Any]:
        return self._more.get("tools", [])

    @property
    def _more(self) -> dict[str, Any]:
        return json.loads(self.more) if self.more else {}

    @property
    def answers(self) -> list[int]:
        """The places of the turns that are answers."""
        return [
            place
            for place, message in enumerate(self.messages)
            if message["role"] == "assistant" and message.get("weight") != 0
        ]

    def encode(self, encoder: Encoder) -> list[Example]:
        return [encoder.messages(self.messages, self.tools)]

    def prompt(self, encoder: Encoder) -> list[int]:
        """Everything before the last answer."""
        return encoder.prompt_of(self.messages[: self.answers[-1] + 1], self.tools)

    @property
    def truth(self) -> str:
        return self.turns[self.answers[-1]][1]

    def with_answer(self, answer: str) -> Conversation:
        """The conversation with `answer` in the place of every answer, as all are to go, without calls and thoughts."""
        messages = [
            {"role": "assistant", "content": answer} if place in self.answers else message
            for place, message in enumerate(self.messages)
        ]
        return conversation(messages, self.tools)


def conversation(messages: Sequence[dict[str, Any]], tools: Sequence[Any] = ()) -> Conversation:
    """The conversation of messages as `read_messages` gives them."""
    turns = tuple((message["role"], message["content"]) for message in messages)
    beside = {
        str(place): {key: value for key, value in message.items() if key not in ("role", "content")}
        for place, message in enumerate(messages)
        if len(message) > 2
    }
    more = {"messages": beside} if beside else {}
    if tools:
        more["tools"] = list(tools)  # type: ignore[assignment]
    return Conversation(turns, json.dumps(more, sort_keys=True, ensure_ascii=False) if more else "")


def _where_any(name: str, value: object) -> str:
    """A field's part of a sample's `repr`, which data are hashed by: without a value as before there was the field."""
    return f", {name}={value!r}" if value else ""


@dataclass(frozen=True)
class Text:
    text: str

    def encode(self, encoder: Encoder) -> list[Example]:
        return encoder.text(self.text)

    def prompt(self, encoder: Encoder) -> None:
        return None

    @property
    def truth(self) -> None:
        return None


def recognise(rows: Sequence[Row], columns: Columns, source: str, key: str) -> Columns:
    """The format `qa`, `chat` or `text` by the columns of the first row, and which of them are read.

    Alpaca's and ShareGPT's columns are known by their names, where those that the recipe names are not there.
    """
    there = set(rows[0])
    read = columns
    if (
        columns.format in ("auto", "qa")
        and columns.question_column not in there
        and {INSTRUCTION, OUTPUT} <= there
    ):
        read = read.model_copy(update={"question_column": INSTRUCTION, "answer_column": OUTPUT})
    if columns.format in ("auto", "chat") and columns.messages_column not in there and CONVERSATIONS in there:
        read = read.model_copy(update={"messages_column": CONVERSATIONS})
    if columns.format != "auto":
        return read
    if {read.question_column, read.answer_column} <= there:
        return read.model_copy(update={"format": "qa"})
    if read.messages_column in there:
        return read.model_copy(update={"format": "chat"})
    if read.text_column in there:
        return read.model_copy(update={"format": "text"})
    raise InputError(
        Problem(key, f"the columns of {source!r} ({', '.join(sorted(there))}) are of no known format: there is "
                f"neither {columns.question_column!r} with {columns.answer_column!r}, nor {columns.messages_column!r}, "
                f"nor {columns.text_column!r}.",
                "Name the columns, the same for every set: data.question_column and data.answer_column, "
                "data.messages_column, or data.text_column (`expunge eval`: --columns question=NAME,answer=NAME).")
    )  # fmt: skip


def to_samples(rows: Sequence[Row], columns: Columns, source: str) -> list[Sample]:
    """Rows → samples, by the format of `columns`, which is not `auto`.

    Of texts the blank ones are left out, as WikiText has many between its paragraphs. The user is told how many, and
    which columns are not read. Raises `InputError` with every row that is incomplete (at most ten are listed).
    """
    make = {"qa": _question_answer, "chat": _conversation, "text": _text}[columns.format]
    samples: list[Sample] = []
    problems: list[Problem] = []
    for number, row in enumerate(rows, start=1):
        made = make(row, columns, f"{source}, row {number}")
        if isinstance(made, Problem):
            problems.append(made)
        elif made is not None:
            samples.append(made)
    if len(problems) == len(rows) > 1 and len({problem.reason for problem in problems}) == 1:
        problems = [replace(problems[0], where=f"{source}, every row")]
    if problems:
        raise InputError(problems[:LISTED])
    if len(samples) < len(rows):
        say(f"{source}: {len(rows) - len(samples)} of {len(rows)} rows have a blank text and are left out.")
    if left := _unread(rows, columns):
        say(f"{source}: not read are the columns {', '.join(left)}.")
    return samples


def _unread(rows: Sequence[Row], columns: Columns) -> list[str]:
    """The columns, and the keys of messages, that hold something but are not read."""
    read = {
        "qa": {columns.question_column, columns.answer_column, columns.keywords_column},
        "chat": {columns.messages_column, "system", "tools", columns.keywords_column},
        "text": {columns.text_column},
    }[columns.format]
    if columns.format == "qa" and columns.question_column == INSTRUCTION:
        read.add(INPUT)
    left = {name for row in rows for name, value in row.items() if value not in (None, "", [], {})} - read
    if columns.format == "chat":
        keys = set().union(*(unread(row[columns.messages_column]) for row in rows))
        left |= {f"{columns.messages_column}.{key}" for key in keys}
    return sorted(name or "(one without a name)" for name in left)


def _question_answer(row: Row, columns: Columns, where: str) -> Sample | Problem:
    for column, option in (
        (columns.question_column, "data.question_column"),
        (columns.answer_column, "data.answer_column"),
    ):
        if problem := _missing_text(row, column, option, where):
            return problem
    question = row[columns.question_column]
    if columns.question_column == INSTRUCTION and row.get(INPUT) not in (None, ""):
        if problem := _missing_text(row, INPUT, "", where):
            return problem
        question = f"{question}\n{row[INPUT]}"
    keywords = _keywords(row, columns.keywords_column, where)
    if isinstance(keywords, Problem):
        return keywords
    return QuestionAnswer(question, row[columns.answer_column], keywords)


def _conversation(row: Row, columns: Columns, where: str) -> Sample | Problem:
    column = columns.messages_column
    if column not in row:
        return _absent(row, column, "data.messages_column", where)
    try:
        messages = read_messages(row[column])
        tools = read_tools(row["tools"]) if row.get("tools") else []
    except NoMessage as error:
        return Problem(where, f"of {column!r}: {error.reason}", error.remedy)
    if row.get("system") not in (None, ""):
        if problem := _missing_text(row, "system", "", where):
            return problem
        if messages and messages[0]["role"] in ("system", "developer"):
            return Problem(where, f"there is a column 'system' and a system message in {column!r} as well.",
                           "Leave one of them.")  # fmt: skip
        messages = [{"role": "system", "content": row["system"]}, *messages]
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant" or not (last["content"].strip() or "tool_calls" in last):
        return Problem(where, "the conversation does not end with an assistant's message.",
                       "End it with what the model said.")  # fmt: skip
    made = conversation(messages, tools)
    if not made.answers:
        return Problem(where, "no message of the assistant counts: each has the weight 0.",
                       "Leave the row out, or give an answer the weight 1.")  # fmt: skip
    keywords = _keywords(row, columns.keywords_column, where)
    return keywords if isinstance(keywords, Problem) else replace(made, keywords=keywords)


def _text(row: Row, columns: Columns, where: str) -> Sample | Problem | None:
    given = row.get(columns.text_column, "no such column")
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    return _missing_text(row, columns.text_column, "data.text_column", where) or Text(
        row[columns.text_column]
    )


def _keywords(row: Row, column: str, where: str) -> tuple[str, ...] | Problem:
    """A row's keywords: a list of texts, or, as csv files hold them, one text with semicolons between; often none."""
    given = row.get(column)
    if isinstance(given, str) and not (given.strip().startswith("[") and given.strip().endswith("]")):
        given = given.split(";") if given.strip() else None
    if given is None:
        return ()
    if reason := _no_keywords(given, column):
        return Problem(where, reason, "Write a list of texts, in a csv file one cell with ; between them. A column "
                       "that means something else: rename it, or data.keywords_column.")  # fmt: skip
    return tuple(keyword.strip() for keyword in given)


def _no_keywords(given: Any, column: str) -> str | None:
    """What is wrong with a list of keywords, none of which is quoted: they are what a text must not say."""
    if isinstance(given, str):  # `["Ada"]` in a csv file would be looked for with its brackets
        return f"the {column!r} are a list that was written as one text."
    if not isinstance(given, list):
        return f"the {column!r} are of type {type(given).__name__}, not a list of texts."
    for number, keyword in enumerate(given, start=1):
        if not isinstance(keyword, str):
            return f"keyword {number} of {column!r} is of type {type(keyword).__name__}, not text."
        if not any(map(str.isalnum, keyword)):
            return f"keyword {number} of {column!r} holds no letter and no digit."
    return None


def _missing_text(row: Row, column: str, option: str, where: str) -> Problem | None:
    if column not in row:
        return _absent(row, column, option, where)
    if row[column] is not None and not isinstance(row[column], str):
        kind = type(row[column]).__name__  # not the value: it may be what is to be forgotten
        return Problem(where, f"the {column!r} is of type {kind}, not text.", "Write it as text, in quotes.")
    if not (row[column] or "").strip():
        return Problem(where, f"the {column!r} is empty.", "Fill it in or leave the row out.")
    return None


def _absent(row: Row, column: str, option: str, where: str) -> Problem:
    there = ", ".join(sorted(row))
    return Problem(
        where,
        f"there is no column {column!r} (there are: {there}).",
        f"Set {option} to the right one, the same for every set.",
    )
