"""A request rolled back: its adapter is left out, and what that brings back is measured. `expunge ledger rollback`."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from ..errors import InputError, Problem
from ..folder.epochs import EpochsFolder
from ..folder.ledger import Entry, Kept, LedgerFolder
from ..folder.lock import locked
from ..folder.machine import now
from .entry import check_one_process, check_signing, deliver, digests_in, sign_entry
from .measured import Remeasured, of_forget_set, readable


def rollback(
    folder: str | Path,
    request: str,
    *,
    received: str | None = None,
    fields: Mapping[str, str] | None = None,
    key: Path | None = None,
    operator: str | None = None,
) -> Entry:
    """Leave the adapter of a request out from now on, and append that as an entry of its own.

    request: its number or its id

    The requests after it were trained with it in place, so the forget sets of all are measured again, and the utility
    by what the last request measured it on. An interrupted rollback is repeated by the same command. Raises
    `InputError` where the request left no adapter or is rolled back already.
    """
    check_one_process()
    with locked(Path(folder), str(folder)):
        return _rollback(LedgerFolder(folder), request, received, fields, key, operator)


def _rollback(
    ledger: LedgerFolder,
    request: str,
    received: str | None,
    fields: Mapping[str, str] | None,
    key: Path | None,
    operator: str | None,
) -> Entry:
    entries = ledger.entries
    check_signing(ledger, key)
    if (pending := ledger.settle()) is not None:
        raise InputError(
            Problem(str(ledger.path), f"request {pending.number} ({pending.id}) was begun and is not over.",
                    "Finish it first: `expunge ledger add … --resume`.")
        )  # fmt: skip
    left_out, before, number = ledger.find(request), entries[-1], len(entries) + 1
    if left_out.number not in before.active:
        reason = "is no request" if left_out.kind == "rollback" else "has no adapter in the model any more"
        if left_out.ended:
            reason = f"left no adapter: {left_out.ended}"
        if taken := [entry.number for entry in entries if left_out.number in entry.replaces]:
            reason = f"has no adapter of its own any more: request {taken[-1]} was run in its place"
        raise InputError(
            Problem(str(ledger.path), f"entry {left_out.number} ({left_out.id}) {reason}.",
                    f"Name one of those that have: {', '.join(map(str, before.active)) or 'there is none'}.")
        )  # fmt: skip
    active = [each for each in before.active if each != left_out.number]
    requests = [entry.number for entry in entries if entry.kind == "request"]
    measurable, unmeasured = readable(ledger, requests)
    logs = EpochsFolder(ledger.rollback(number))
    # Those of an interrupted rollback may be of another request.
    shutil.rmtree(logs.path, ignore_errors=True)
    forget_sets, utility = {}, None
    if measurable:
        latest = measurable[-1]
        again = Remeasured(ledger, active, latest.inputs.recipe.model, logs)
        for each in measurable:
            metrics = again.measure(each, whole=each is latest).metrics
            forget_sets[each.number] = of_forget_set(metrics)
        kept = entries[latest.number - 1].utility
        if kept is not None and kept.metric in metrics:
            utility = Kept(**{**kept.model_dump(), "after": metrics[kept.metric].value})
    assert left_out.facts is not None
    base = left_out.facts.base
    entry = Entry(
        number=number,
        kind="rollback",
        previous=ledger.head(number - 1),
        id=f"rollback-of-{left_out.id}",
        received=received or now(),
        done=now(),
        fields=dict(fields or {}),
        rolled_back=left_out.number,
        active=active,
        forget_sets=forget_sets,
        unmeasured=unmeasured,
        utility=utility,
        files={},
        private=digests_in(ledger, logs.path),
        deliverable=deliver(ledger, active, base.name, base.revision),
    )
    ledger.write_entry(entry)
    sign_entry(ledger, number, key, operator)
    return entry
