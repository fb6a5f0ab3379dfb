"""A folder with a record of its own: one JSON file whose every change is checked and written at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from ..errors import InputError, Problem, RunFailed, described
from ..evaluation.checked import checked
from ..intact import RESTORE, read_intact, read_object
from ..storage import PARTIAL, no_room, write_record, write_text
from .machine import command, now, versions
from .state import Origin

State = TypeVar("State", bound=Origin)


class StateFolder(Generic[State]):
    """The files that a run of one request and one of several have in common, and the record of either.

    `state` is what the record says; it is changed by `update` and `extend` alone.
    """

    schema: ClassVar[str]
    #: The record's file, what the record is called where it is something else, and what it holds.
    file_name: ClassVar[str]
    what: ClassVar[str]
    kind: type[State]

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.recipe_file = self.path / "recipe.yaml"
        self.state_file = self.path / self.file_name
        self.adapter = self.path / "adapter"
        self.merged = self.path / "merged"
        #: What `unlearn` was given in memory: the model, and the rows, a file a side.
        self.base = self.path / "base"
        self.data = self.path / "data"
        self.report_file = self.path / "report.html"
        self.card_file = self.path / "README.md"

    @cached_property
    def document(self) -> dict[str, Any]:
        """The record as JSON, key for key as it was written, without its checksum.

        Raises `InputError` where it is missing, damaged, or another's.
        """
        if not self.state_file.is_file():
            raise InputError(
                Problem(str(self.state_file), f"this is no run folder: there is no {self.file_name}.",
                        "Name the folder that `expunge run` wrote (runs/NAME).")
            )  # fmt: skip
        keys = [name for name, field in self.kind.model_fields.items() if field.is_required()]
        content = read_object(self.state_file, self.what, keys, schema=self.schema)
        self._checked(content)
        return content

    @cached_property
    def state(self) -> State:
        return self._checked(self.document)

    def _write_recipe(self, text: str) -> None:
        """Raises `InputError` where another recipe lies there: the user's own, which is not to be lost."""
        there = self.recipe_file
        if there.exists() and not (there.is_file() and there.read_bytes() == text.encode()):
            raise InputError(
                Problem(str(self.recipe_file), "it is another recipe than the run's, which would take its place.",
                        "Choose another --output.")
            )  # fmt: skip
        write_text(self.recipe_file, text)

    @cached_property
    def recipe_text(self) -> str:
        """The recipe as it was written; empty where it is missing."""
        return read_intact(_text, self.recipe_file) if self.recipe_file.exists() else ""

    @contextmanager
    def recording_failure(self, speaks: bool) -> Iterator[None]:
        """Within the block an error or an interruption is recorded, by the process that speaks, before it goes on its
        way.

        Raises `RunFailed` in its place where the disk is full: what is staged makes room for the record.
        """
        try:
            yield
        except (Exception, KeyboardInterrupt) as error:
            full = no_room(error, self.path)
            if speaks:
                for staged in self.path.rglob(f"*{PARTIAL}") if full else ():
                    shutil.rmtree(staged, ignore_errors=True)
                with suppress(OSError):
                    self.update(state="failed", error=full or described(error))
            if full:
                raise RunFailed(
                    f"{full} What was finished is kept. Make room, and go on by the same command with --resume."
                ) from error
            raise

    def update(self, **changes: Any) -> None:
        """Give keys of the record another value."""
        self._write({**self.document, **changes})

    def extend(self, section: str, **facts: Any) -> None:
        """Give keys of a section of the record another value, and leave its other keys as they are."""
        self.update(**{section: {**self.document[section], **facts}})

    def record_network(self, asked: Sequence[str]) -> None:
        """Add what the hub was asked for, where it was."""
        known = self.document.get("network", [])
        if new := [entry for entry in asked if entry not in known]:
            self.update(network=[*known, *new])

    def reload(self) -> None:
        """Forget what is in memory: another process has written the files."""
        for name in [
            name for name in vars(self) if isinstance(getattr(type(self), name, None), cached_property)
        ]:
            del vars(self)[name]

    def _begin(self, name: str, seed: int, content: dict[str, Any]) -> None:
        self._write(
            {
                "schema": self.schema,
                "name": name,
                "state": "running",
                "versions": versions(),
                "seed": seed,
                "command": command(),
                "started": now(),
                "finished": None,
                **content,
            }
        )

    def _write(self, document: dict[str, Any]) -> None:
        state = self._checked(document)
        write_record(self.state_file, document)
        self.document, self.state = document, state

    def _checked(self, document: dict[str, Any]) -> State:
        return checked(self.kind, document, str(self.state_file), RESTORE)


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")
