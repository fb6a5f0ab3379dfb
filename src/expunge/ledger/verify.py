"""Whether a ledger is what was written: every file, every link, every signature. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError
from ..evidence import Check, verify_statement
from ..evidence.keys import read_public_key
from ..evidence.statement import STATEMENT_FILE, TEST_RESULT_FILE, Rollback, Unlearning
from ..evidence.verify import folder_digests
from ..folder.ledger import Entry, LedgerFolder
from ..intact import check_folder, read_intact
from ..storage import CHECKSUMS, file_checksum, read_json

#: The most files of one entry that are named as wrong.
NAMED = 5
#: Digits of an entry's number: no ledger has more entries.
LONGEST_NUMBER = 6


def verify_ledger(folder: str | Path, key: Path | None = None) -> list[Check]:
    """Check a ledger.

    key: the signer's public key; then every entry has to be attested, and chained to the attestation before it

    Raises `InputError` where `folder` is no ledger, or `key` no key.
    """
    ledger = LedgerFolder(folder)
    if key is not None:
        read_public_key(key)
    checks = []
    try:
        pending = ledger.pending
        identity = ledger.identity
        checks.append(Check(True, f"Ledger {identity.id}, begun {identity.created}."))
    except InputError as error:
        if not ledger.exists:
            raise
        return [Check(False, str(error))]
    if pending is not None:
        said = f"Request {pending.number} ({pending.id}) was begun and is not over: `expunge ledger add … --resume`."
        checks.append(Check(False, said))
    recorded = _recorded(ledger)
    named = [name[:-5] for name in recorded if name[:-5].isdecimal()]
    if any(len(number) > LONGEST_NUMBER for number in (*named, str(ledger.count))):
        return [*checks, Check(False, f"{ledger.entries_folder}: there is, or its {CHECKSUMS} names, an entry that no "
                                      "ledger has.")]  # fmt: skip
    count = max(ledger.count, *map(int, named), 0)
    for number in range(1, count + 1):
        checks += _entry(ledger, number, recorded, key, last=number == count)
    for place in sorted((ledger.path / "attestations").glob("*")):
        if place.name.isdecimal() and int(place.name) > count:
            checks.append(Check(False, f"{place}: there is no such entry."))
    if count and ledger.entry_file(count).is_file():
        checks.append(
            Check(None, f"The last entry is {count}, {ledger.head(count)}. Compare it with a record of yours: entries "
                  "that were cut off at the end leave no trace here.")
        )  # fmt: skip
    return checks


def _recorded(ledger: LedgerFolder) -> dict[str, str]:
    """{file of an entry: SHA-256} as they were written; empty where the record cannot be read, so that every entry is
    found to have none."""
    try:
        content = read_intact(read_json, ledger.entries_folder / CHECKSUMS)
    except InputError:
        return {}
    return content if isinstance(content, dict) else {}


def _entry(
    ledger: LedgerFolder, number: int, recorded: Mapping[str, str], key: Path | None, *, last: bool
) -> list[Check]:
    file = ledger.entry_file(number)
    try:
        entry = ledger.entry(number)
    except InputError as error:
        return [Check(False, str(error))]
    wrong = []
    if recorded.get(file.name) != file_checksum(file):
        wrong.append(f"{file.name} has no record in {CHECKSUMS}, or another")
    before = ledger.entry_file(number - 1) if number > 1 else ledger.identity_file
    if not before.is_file() or entry.previous != file_checksum(before):
        wrong.append(f"it is not chained to {before.name}")
    wrong += _changed(ledger, entry.files) + _changed(ledger, entry.private, may_be_gone=True)
    if last:
        wrong += _deliverable(ledger, entry)
    gone = [name for name in entry.private if not (ledger.path / name).exists()]
    title = f"Entry {number} ({entry.id})"
    if wrong:
        more = f", and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
        checks = [Check(False, f"{title}: {'; '.join(wrong[:NAMED])}{more}.")]
    else:
        files = len(entry.files) + len(entry.private) - len(gone) + (len(entry.deliverable) if last else 0)
        checks = [Check(True, f"{title}: unchanged, chained to {before.name}, {files} files unchanged.")]
    if gone:
        checks.append(
            Check(None, f"{title}: {len(gone)} files that quote or score samples have been deleted since.")
        )
    return [*checks, *_signature(ledger, entry, key)]


def _changed(ledger: LedgerFolder, files: Mapping[str, str], may_be_gone: bool = False) -> list[str]:
    wrong = []
    for name, digest in files.items():
        file = ledger.path / name
        if file.is_symlink():
            wrong.append(f"{name} is a link")
        elif not file.is_file():
            wrong += [] if may_be_gone else [f"{name} is missing"]
        elif file_checksum(file) != digest:
            wrong.append(f"{name} has changed")
    return wrong


def _deliverable(ledger: LedgerFolder, entry: Entry) -> list[str]:
    """`adapter/` is that of the last entry."""
    try:
        there = folder_digests(ledger.adapter) if ledger.adapter.is_dir() else {}
    except InputError as error:
        return [str(error)]
    names = sorted(there.keys() | entry.deliverable.keys())
    return [
        f"adapter/{name} is not as the entry has it"
        for name in names
        if there.get(name) != entry.deliverable.get(name)
    ]


def _signature(ledger: LedgerFolder, entry: Entry, key: Path | None) -> list[Check]:
    place = ledger.attestation(entry.number)
    title = f"Entry {entry.number} ({entry.id})"
    if not place.is_dir():
        said = "it is not attested: `expunge attest`"
        return [] if key is None else [Check(False, f"{title}: {said}.")]
    try:
        check_folder(place)
    except InputError as error:
        return [Check(False, f"{title}: {problem}") for problem in error.problems]
    if key is None:
        return [Check(None, f"{title}: its attestation was not checked (--key).")]
    wrong = []
    for name in (STATEMENT_FILE, TEST_RESULT_FILE):
        if not (place / name).is_file():
            if name == STATEMENT_FILE or entry.kind == "request":
                wrong.append(f"{name} is missing")
            continue
        verified = verify_statement(place / name, key)
        wrong += [f"{name}: {check.said}" for check in verified.checks if check.holds is False]
        stated = verified.predicate
        if isinstance(stated, Unlearning | Rollback):
            if stated.position is None or stated.position.entry != ledger.head(entry.number):
                wrong.append(f"{name} is of another entry")
            before = ledger.attestation(entry.number - 1) / STATEMENT_FILE
            if stated.previous != (file_checksum(before) if before.is_file() else None):
                wrong.append(f"{name} is not chained to the attestation before it")
        elif name == TEST_RESULT_FILE and verified.holds:
            if verified.subjects.get(ledger.entry_file(entry.number).name) != ledger.head(entry.number):
                wrong.append(f"{name} is of another entry")
        elif name == STATEMENT_FILE and verified.holds:
            wrong.append(f"{name} is of another kind")
    if wrong:
        return [Check(False, f"{title}: {said}") for said in wrong]
    return [Check(True, f"{title}: its attestation is signed by the key, and chained to the one before it.")]
