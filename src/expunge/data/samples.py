"""What a user's row is: a question with its answer, a conversation, or a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from ..errors import InputError, Problem
from .columns import Columns
from .encoding import Encoder, Example
from .rows import Row


class Sample(Protocol):
    """A row that can be encoded. Two equal samples hold the same content."""

    def encode(self, encoder: Encoder) -> list[Example]:
        """One example, or several chunks of a long text."""

    def prompt(self, encoder: Encoder) -> list[int] | None:
        """Token ids that an answer can be generated from, None for plain text."""

    @property
    def truth(self) -> str | None:
        """The true answer, None for plain text."""


@dataclass(frozen=True)
class QuestionAnswer:
    question: str
    answer: str

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
    """Turns as (role, content); every assistant turn is an answer."""

    turns: tuple[tuple[str, str], ...]

    @property
    def messages(self) -> list[dict[str, str]]:
        return [{"role": role, "content": content} for role, content in self.turns]

    def encode(self, encoder: Encoder) -> list[Example]:
        return [encoder.messages(self.messages)]

    def prompt(self, encoder: Encoder) -> list[int] | None:
        return encoder.prompt(self.turns[0][1]) if len(self.turns) == 2 else None

    @property
    def truth(self) -> str:
        return self.turns[-1][1]

    def with_answer(self, answer: str) -> Conversation:
        """Every assistant's turn says `answer`: each of them is an answer to forget."""
        return Conversation(
            tuple((role, answer if role == "assistant" else content) for role, content in self.turns)
        )


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


def recognise_format(rows: Sequence[Row], data: Columns, source: str, key: str) -> str:
    """`qa`, `chat` or `text`, by the columns of the first row."""
    if data.format != "auto":
        return data.format
    columns = set(rows[0])
    if {data.question_column, data.answer_column} <= columns:
        return "qa"
    if data.messages_column in columns:
        return "chat"
    if data.text_column in columns:
        return "text"
    raise InputError(
        Problem(key, f"the columns of {source!r} ({', '.join(sorted(columns))}) are of no known format: there is "
                f"neither {data.question_column!r} with {data.answer_column!r}, nor {data.messages_column!r}, nor "
                f"{data.text_column!r}.",
                "Name the columns, the same for every set: data.question_column and data.answer_column, "
                "data.messages_column, or data.text_column (`expunge eval`: --columns question=NAME,answer=NAME).")
    )  # fmt: skip


def to_samples(rows: Sequence[Row], kind: str, data: Columns, source: str) -> list[Sample]:
    """Rows → samples; of texts the blank ones are left out, as WikiText has many between its paragraphs.

    Raises `InputError` with every row that is incomplete (at most ten are listed).
    """
    make = {"qa": _question_answer, "chat": _conversation, "text": _text}[kind]
    samples: list[Sample] = []
    problems: list[Problem] = []
    for number, row in enumerate(rows, start=1):
        made = make(row, data, f"{source}, row {number}")
        if isinstance(made, Problem):
            problems.append(made)
        elif made is not None:
            samples.append(made)
    if len(problems) == len(rows) > 1 and len({problem.reason for problem in problems}) == 1:
        problems = [replace(problems[0], where=f"{source}, every row")]
    if problems:
        raise InputError(problems[:10])
    return samples


def _question_answer(row: Row, data: Columns, where: str) -> Sample | Problem:
    for column, option in (
        (data.question_column, "data.question_column"),
        (data.answer_column, "data.answer_column"),
    ):
        if problem := _missing_text(row, column, option, where):
            return problem
    return QuestionAnswer(row[data.question_column], row[data.answer_column])


def _conversation(row: Row, data: Columns, where: str) -> Sample | Problem:
    column = data.messages_column
    if column not in row:
        return _absent(row, column, "data.messages_column", where)
    messages: Any = row[column]
    try:
        turns = tuple((str(message["role"]), str(message["content"])) for message in messages)
    except (TypeError, KeyError):
        return Problem(where, f"{column!r} is no list of messages.", "Give role and content of each message.")
    if not turns or turns[-1][0] != "assistant" or not turns[-1][1].strip():
        return Problem(where, "the conversation does not end with an assistant's message.",
                       "End it with what the model said.")  # fmt: skip
    return Conversation(turns)


def _text(row: Row, data: Columns, where: str) -> Sample | Problem | None:
    given = row.get(data.text_column, "no such column")
    if given is None or (isinstance(given, str) and not given.strip()):
        return None
    return _missing_text(row, data.text_column, "data.text_column", where) or Text(row[data.text_column])


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
