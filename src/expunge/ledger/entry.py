"""What the entry of a request and that of a rollback have in common: the adapter of all requests, and its signature."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from ..adapters.stack import combine_adapters
from ..errors import InputError, Problem
from ..evidence.keys import read_private_key
from ..evidence.verify import folder_digests
from ..folder.ledger import LedgerFolder
from ..models.processes import processes
from ..progress import say
from ..run.attest import attest_entry
from ..storage import PARTIAL


def check_one_process() -> None:
    """Raise `InputError` where several processes share the work: a ledger is written by one."""
    number = processes().num_processes
    if number > 1:
        raise InputError(
            Problem("accelerate launch", f"{number} processes cannot write one ledger.", "Start it in one process.")
        )  # fmt: skip


def deliver(ledger: LedgerFolder, active: Sequence[int], base: str, revision: str | None) -> dict[str, str]:
    """Write `adapter/`: one adapter for the untouched base with the changes of the requests `active`. Its checksums."""
    if not active:
        shutil.rmtree(ledger.adapter, ignore_errors=True)
        return {}
    combine_adapters(
        [ledger.run(number).adapter for number in active], ledger.adapter, base_name=base, revision=revision
    )
    return folder_digests(ledger.adapter)


def digests_in(ledger: LedgerFolder, folder: Path) -> dict[str, str]:
    """The SHA-256 of the files beneath a folder of the ledger, by their path in the ledger."""
    place = folder.relative_to(ledger.path).as_posix()
    return {
        f"{place}/{name}": digest for name, digest in folder_digests(folder).items() if PARTIAL not in name
    }


def check_signing(ledger: LedgerFolder, key: Path | None) -> None:
    """Raise `InputError` where the next entry could not be attested by `key`: attestations are a chain too."""
    if key is None:
        return
    read_private_key(key)
    if ledger.count and not ledger.attestation(ledger.count).exists():
        raise InputError(
            Problem("--key", f"the last entry, {ledger.count}, is not attested, and attestations are chained.",
                    f"Attest it first: `expunge attest {ledger.entry_file(ledger.count)}`; or leave --key out.")
        )  # fmt: skip


def sign_entry(ledger: LedgerFolder, number: int, key: Path | None, operator: str | None) -> None:
    """Attest the entry where there is a key, and there is no attestation yet."""
    if key is not None and not ledger.attestation(number).exists():
        say(f"Attestation: {attest_entry(ledger, number, read_private_key(key), operator)}")
