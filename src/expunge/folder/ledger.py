"""The folder of a ledger: one entry a deletion request, or a rollback of one, each chained to the one before it.

ledger.json          which ledger this is
entries/0001.json    the entries; `checksums.json` beside them has the SHA-256 of each
requests/0001/       the run of a request
rollbacks/0002/      what was measured after a rollback
salts/0001           the secret salt of a request's Merkle root
adapter/             one adapter for the untouched base, of all requests that are neither rolled back nor replaced
attestations/0001/   the signed statement of an entry, where there is one
pending.json         the request that is being added
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from ..errors import InputError, Problem
from ..evaluation.checked import checked
from ..evidence.statement import Digest, Facts, Measured, Utility
from ..intact import broken, read_intact, read_object
from ..storage import CHECKSUMS, file_checksum, read_json, recorded, write_json, write_record, write_text
from .run import RunFolder
from .state import Record

RESTORE = "Restore the file from a copy of the ledger."
Number = Annotated[int, Field(ge=1)]
Sums = dict[str, Digest]


class Identity(Record):
    """`ledger.json`"""

    id: str
    created: str


class Pending(Record):
    """`pending.json`. recipe: SHA-256 of the resolved recipe that was given; replaces: as of the entry"""

    number: Number
    id: str
    received: str
    fields: dict[str, str]
    recipe: Digest
    replaces: list[Number] = Field(default_factory=list)


class Kept(Utility):
    """measured_on: a hash of what it was measured on"""

    measured_on: Digest


class Entry(Record):
    """`entries/NNNN.json`.

    previous:    SHA-256 of the file of the entry before it; of `ledger.json` for the first
    id, received, done, fields: the operator's name for the request, when it came and was over, and what they noted
    facts:       of a request; a rollback has none
    given:       SHA-256 of the recipe as it was given, resolved
    rolled_back: of a rollback, the number of the request whose adapter is left out
    replaces:    the requests whose forget sets this one's contains, and whose adapters its own takes the place of
    ended:       how a request ended that left no adapter
    active:      the requests whose adapters the model has from now on, in their order
    forget_sets: the figures of every request's forget set on that model, by its number
    unmeasured:  why there are none, by its number
    utility:     None where nothing says what is left
    files:       SHA-256 of the files that stay, by their path in the ledger
    private:     of those that quote or score single samples, and of the salt; they may be deleted
    deliverable: of the files in `adapter/`, which a later entry replaces; empty where no adapter is left
    """

    number: Number
    kind: Literal["request", "rollback"]
    previous: Digest
    id: str
    received: str
    done: str
    fields: dict[str, str]
    facts: Facts | None = None
    given: Digest | None = None
    rolled_back: Number | None = None
    replaces: list[Number] = Field(default_factory=list)
    ended: str | None = None
    active: list[Number]
    forget_sets: dict[Number, dict[str, Measured]]
    unmeasured: dict[Number, str]
    utility: Kept | None = None
    files: Sums
    private: Sums
    deliverable: Sums

    @model_validator(mode="after")
    def _of_its_kind(self) -> Entry:
        if (self.kind == "request") != (self.facts is not None) or (self.kind == "rollback") != (
            self.rolled_back is not None
        ):
            raise ValueError(f"does not hold what a {self.kind} has")
        return self


class LedgerFolder:
    """The files of a ledger; the only reader and writer of its records."""

    schema = "expunge.ledger/1"
    entry_schema = "expunge.ledger-entry/1"
    pending_schema = "expunge.ledger-pending/1"

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.identity_file = self.path / "ledger.json"
        self.pending_file = self.path / "pending.json"
        self.entries_folder = self.path / "entries"
        self.adapter = self.path / "adapter"

    @property
    def exists(self) -> bool:
        return self.identity_file.is_file()

    @cached_property
    def identity(self) -> Identity:
        """Raises `InputError` where the folder is no ledger."""
        if not self.exists:
            raise InputError(
                Problem(str(self.path), "this is no ledger: there is no ledger.json.",
                        "Name the folder of one; `expunge ledger add` makes it.")
            )  # fmt: skip
        content = read_object(self.identity_file, "the record of a ledger", (), RESTORE, schema=self.schema)
        return checked(Identity, content, str(self.identity_file), RESTORE)

    @property
    def entries(self) -> list[Entry]:
        """All entries. Raises `InputError` for one that is damaged or missing."""
        self.identity  # noqa: B018  (says where there is no ledger)
        return [self.entry(number) for number in range(1, self.count + 1)]

    @property
    def count(self) -> int:
        """The number of the last entry that is there."""
        numbers = (file.stem for file in self.entries_folder.glob("[0-9]*.json"))
        return max((int(stem) for stem in numbers if stem.isdecimal()), default=0)

    def entry(self, number: int) -> Entry:
        file = self.entry_file(number)
        if not file.is_file():
            raise broken(file, "it is missing", RESTORE)
        content = read_object(file, "an entry of a ledger", ("number",), RESTORE, schema=self.entry_schema)
        entry = checked(Entry, content, str(file), RESTORE)
        if entry.number != number:
            raise broken(file, f"it says that it is entry {entry.number}", RESTORE)
        return entry

    def find(self, request: str) -> Entry:
        """The entry of a request, by its number or its id; the last one of that id."""
        entries = self.entries
        for entry in reversed(entries):
            if request in (str(entry.number), f"{entry.number:04}", entry.id):
                return entry
        known = ", ".join(f"{entry.number} ({entry.id})" for entry in entries) or "none yet"
        raise InputError(
            Problem(str(self.path), f"there is no entry {request!r}.", f"Name a number or an id: {known}.")
        )

    @property
    def pending(self) -> Pending | None:
        """The request that was begun and is not over."""
        if not self.pending_file.exists():
            return None
        content = read_object(
            self.pending_file, "a request that was begun", (), RESTORE, schema=self.pending_schema
        )
        return checked(Pending, content, str(self.pending_file), RESTORE)

    def entry_file(self, number: int) -> Path:
        return self.entries_folder / f"{number:04}.json"

    def run(self, number: int) -> RunFolder:
        return RunFolder(self.path / "requests" / f"{number:04}")

    def rollback(self, number: int) -> Path:
        return self.path / "rollbacks" / f"{number:04}"

    def salt_file(self, number: int) -> Path:
        return self.path / "salts" / f"{number:04}"

    def attestation(self, number: int) -> Path:
        return self.path / "attestations" / f"{number:04}"

    def head(self, number: int) -> str:
        """The SHA-256 that the entry after `number` is chained to."""
        return file_checksum(self.entry_file(number) if number else self.identity_file)

    def create(self, identifier: str, created: str) -> None:
        write_record(self.identity_file, {"schema": self.schema, "id": identifier, "created": created})

    def begin(self, pending: Pending, salt: str) -> None:
        write_text(self.salt_file(pending.number), salt + "\n", private=True)
        write_record(self.pending_file, {"schema": self.pending_schema, **pending.model_dump(mode="json")})

    def salt(self, number: int) -> str:
        """Raises `InputError` where it is missing or damaged."""
        file = self.salt_file(number)
        salt = file.read_text(encoding="utf-8").strip() if file.is_file() else ""
        if len(salt) != 64 or not set(salt) <= set("0123456789abcdef"):
            raise broken(file, "it holds no salt", RESTORE)
        return salt

    def write_entry(self, entry: Entry) -> None:
        """Append an entry, which from this moment on is part of the ledger."""
        file = self.entry_file(entry.number)
        with recorded(file):
            write_json(file, {"schema": self.entry_schema, **entry.model_dump(mode="json")})

    def settle(self) -> Pending | None:
        """Complete what a kill right after the last entry was written left undone; the request that is not over yet."""
        pending, count = self.pending, self.count
        if pending is not None and pending.number > count:
            return pending
        file, sums = self.entry_file(count), self.entries_folder / CHECKSUMS
        if count and (not sums.exists() or file.name not in read_intact(read_json, sums, RESTORE)):
            with recorded(file):
                pass
        self.pending_file.unlink(missing_ok=True)
        return None
