"""The dialogue sets, declared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from ...errors import InputError, Problem
from ...settings import Location
from ..declaration import Declaration, Options

if TYPE_CHECKING:
    from ...data.encoding import Encoder
    from .benchmark import DialogueBenchmark


class DialogueOptions(Options):
    path: Location | None = Field(None, alias="data", description="folder with a file for each set")
    max_new_tokens: int | None = Field(None, ge=1, description="longest generated reply")


class Dialogue(Declaration[DialogueOptions]):
    name = "dialogue"
    options = DialogueOptions

    def open(self, options: DialogueOptions, encoder: Encoder) -> DialogueBenchmark:
        """The dialogue sets of `options.path`."""
        from .benchmark import MAX_NEW_TOKENS, DialogueBenchmark  # they load torch
        from .files import read_dialogues

        if options.path is None:
            raise InputError(
                Problem("path", "there are no dialogues.",
                        "Name a folder with a jsonl file for each set, whose rows hold context and response.")
            )  # fmt: skip
        sets = read_dialogues(options.path, "path")
        return DialogueBenchmark(
            sets, options.path, options.max_new_tokens or MAX_NEW_TOKENS, options.samples
        )


DIALOGUE = Dialogue()
