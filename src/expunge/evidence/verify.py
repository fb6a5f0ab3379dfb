"""The check of a signed statement, by a pinned key: who has the file and what was handed over needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import ValidationError

from ..errors import InputError, Problem
from ..storage import file_checksum
from .envelope import PAYLOAD_TYPE, Envelope, NoEnvelope, is_signed_by, read_envelope
from .keys import key_id, read_public_key
from .statement import CERTIFICATE_FILE, PREDICATES, Content, Rollback, Statement, TestResult, Unlearning

#: The most files of a deliverable that are named as wrong.
NAMED = 5


@dataclass(frozen=True)
class Check:
    """One thing that was looked at. holds: None where it could not be looked at; said: what was found, a sentence"""

    holds: bool | None
    said: str


@dataclass(frozen=True)
class Verified:
    """checks: in their order; predicate: what the statement says, None where it must not be believed; subjects: SHA-256
    of the files that it speaks of, by name"""

    checks: list[Check]
    predicate: Content | None
    subjects: Mapping[str, str] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        return all(check.holds is not False for check in self.checks)


def verify_statement(file: Path, key: Path, deliverable: Path | None = None) -> Verified:
    """Check an envelope that `expunge attest` wrote.

    key:         the signer's public key, had from the signer and not together with the file
    deliverable: the folder with what was handed over

    Raises `InputError` where `file` or `key` cannot be read, or `deliverable` is no folder.
    """
    public = read_public_key(key)
    try:
        content = file.read_bytes()
    except OSError as error:
        raise InputError(
            Problem(str(file), f"it cannot be read: {error.strerror}.", "Name the file attestation.json.")
        ) from None
    if deliverable is not None and not deliverable.is_dir():
        raise InputError(
            Problem(f"--deliverable: {deliverable}", "there is no such folder.", "Name what was handed over.")
        )
    try:
        envelope = read_envelope(content)
    except NoEnvelope as error:
        return Verified([Check(False, f"The file is no DSSE envelope: {error}.")], None)
    if not is_signed_by(envelope, public):
        # Unsigned words: as they are they could look like a line of this answer.
        signers = ", ".join(ascii(keyid[:16])[1:-1] or "unnamed" for keyid, _ in envelope.signatures)
        said = (
            f"No signature is valid under the key {key_id(public)[:16]}: the statement has changed, or another key "
            f"signed it (named: {signers})."
        )
        return Verified([Check(False, said)], None)
    checks = [Check(True, f"Signed by the key {key_id(public)[:16]} (Ed25519), and unchanged since.")]
    try:
        stated, predicate = read_statement(envelope)
    except ValueError as error:
        return Verified([*checks, Check(False, f"What is signed is no statement of expunge: {error}.")], None)
    subjects = {subject.name: subject.digest.sha256 for subject in stated.subject}
    checks.append(Check(True, _spoken_of(predicate)))
    checks += _certificate(file.with_name(CERTIFICATE_FILE), subjects)
    checks.append(_deliverable(deliverable, subjects))
    return Verified(checks, predicate, subjects)


def _spoken_of(stated: Content) -> str:
    """What it is about, in words; that it is complete was checked as it was read."""
    if isinstance(stated, TestResult):
        return f"It is a test result: {stated.result}."
    if isinstance(stated, Rollback):
        return f"It says that request {stated.rolled_back} is rolled back, done {stated.request.done}."
    assert isinstance(stated, Unlearning)
    run = [attack.category for attack in stated.attacks if attack.by]
    headline = f'It says: "{stated.verdict.headline}"' if stated.verdict else "It gives no verdict."
    return (
        f"It speaks of request {stated.request.id}, {stated.forget_set.samples} samples, done "
        f"{stated.request.done}. {headline} Attacks that were run: {', '.join(run) or 'none'}. It names those that "
        "were not, and what it does not cover."
    )


def read_statement(envelope: Envelope) -> tuple[Statement, Content]:
    """The statement in an envelope whose signature was verified, and its predicate.

    Raises `ValueError` with what is wrong, without a full stop.
    """
    if envelope.payload_type != PAYLOAD_TYPE:
        raise ValueError(f"the payload's type is not {PAYLOAD_TYPE}")
    try:
        stated = Statement.model_validate(json.loads(envelope.payload))
        kind = PREDICATES.get(stated.predicate_type)
        if kind is None:
            raise ValueError("its predicate is of another type")
        return stated, kind.model_validate(stated.predicate)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
        raise ValueError(f"{place or 'it'} {said}") from None
    except (RecursionError, UnicodeDecodeError, json.JSONDecodeError):
        raise ValueError("it is no JSON") from None


def folder_digests(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file beneath `folder`, by its path in it. Raises `InputError` for a link, which could lead
    anywhere."""
    digests = {}
    for entry in sorted(folder.rglob("*")):
        if entry.is_symlink():
            raise InputError(
                Problem(str(entry), "it is a link, and no file of its own.", "Put the file in its place.")
            )
        if entry.is_file():
            digests[entry.relative_to(folder).as_posix()] = file_checksum(entry)
    return digests


def _certificate(file: Path, subjects: dict[str, str]) -> list[Check]:
    if CERTIFICATE_FILE not in subjects or not file.is_file():
        return []
    if file_checksum(file) == subjects[CERTIFICATE_FILE]:
        return [Check(True, f"{CERTIFICATE_FILE} beside it is the one that was signed.")]
    return [Check(False, f"{CERTIFICATE_FILE} beside it is not the one that was signed.")]


def _deliverable(folder: Path | None, subjects: dict[str, str]) -> Check:
    """Whether the files of `folder` are those of one of the forms that the subjects name: `adapter/…`, `merged/…`."""
    forms: dict[str, dict[str, str]] = {}
    for name, digest in subjects.items():
        form, slash, rest = name.partition("/")
        if slash:
            forms.setdefault(form, {})[rest] = digest
    named = ", ".join(f"{form} ({len(files)} files)" for form, files in forms.items())
    if folder is None:
        said = f"What was handed over was not looked at (--deliverable DIR): {named or 'nothing was'}."
        return Check(None, said)
    if not forms:
        return Check(False, "The statement names no file that was handed over.")
    try:
        there = folder_digests(folder)
    except InputError as error:
        return Check(False, str(error))
    form = max(forms, key=lambda each: len(forms[each].items() & there.items()))
    wrong = [
        *(f"{name} is missing" for name in sorted(forms[form].keys() - there.keys())),
        *(f"{name} is not in the statement" for name in sorted(there.keys() - forms[form].keys())),
        *(
            f"{name} has changed"
            for name, digest in sorted(forms[form].items())
            if name in there and there[name] != digest
        ),
    ]
    if wrong:
        more = f", and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        return Check(
            False, f"{folder} is not what was handed over as {form}: {', '.join(wrong[:NAMED])}{more}."
        )
    return Check(True, f"{folder}: all {len(there)} files are those that were handed over as {form}.")
