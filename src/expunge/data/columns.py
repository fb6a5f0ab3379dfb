"""What a user's own files call their columns."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ..settings import Section


class Columns(Section):
    """The format of a user's rows, and the names of the columns that it reads."""

    format: Literal["auto", "qa", "chat", "text"] = Field(
        "auto", description="auto: recognised by the columns"
    )
    question_column: str = "question"
    answer_column: str = "answer"
    messages_column: str = "messages"
    text_column: str = "text"
