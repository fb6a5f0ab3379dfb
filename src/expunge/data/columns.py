"""The names of the columns of a user's own files."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..settings import Section

Format = Literal["auto", "qa", "chat", "text"]


class SetColumns(Section):
    """The columns of one set, where their names differ from those of the other sets."""

    question: str | None = None
    answer: str | None = None
    messages: str | None = None
    text: str | None = None
    keywords: str | None = None


class Columns(Section):
    """The format of a user's rows, and the names of the columns that it reads."""

    format: Format = Field("auto", description="auto: recognised by the columns")
    question_column: str = "question"
    answer_column: str = "answer"
    messages_column: str = "messages"
    text_column: str = "text"
    keywords_column: str = Field(
        "keywords",
        description="what a text must not say of a row, where it has the column: a list; csv: parted by ;",
    )

    def renamed(self, names: SetColumns) -> Columns:
        """These columns with the names that one set has for itself."""
        own = {f"{role}_column": name for role, name in names if name is not None}
        return Columns(**{**{role: getattr(self, role) for role in Columns.model_fields}, **own})
