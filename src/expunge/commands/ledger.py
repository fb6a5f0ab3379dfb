"""`expunge ledger`: deletion requests one after another, each recorded."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError, Problem
from ..trust import trusting
from .parameters import AsJson, Overrides, RecipeFile, TrustRemoteCode
from .printing import print_checks

if TYPE_CHECKING:
    from ..folder.ledger import Entry

ledger = typer.Typer(
    help="Deletion requests one after another, each on the model that the last one left, recorded in a chain.",
    no_args_is_help=True,
)

LedgerPath = Annotated[Path, typer.Argument(metavar="LEDGER", help="folder of the ledger")]
Named = Annotated[str, typer.Argument(metavar="ENTRY", help="number or id")]
Fields = Annotated[
    list[str] | None,
    typer.Option("--field", help="KEY=VALUE, as often as you like: who asked for what. No text of the data"),
]
Received = Annotated[str | None, typer.Option(help="when the request came, as 2026-11-26T09:00; now")]
Key = Annotated[Path | None, typer.Option(help="private key: attest the entry at once")]
Operator = Annotated[str | None, typer.Option(help="who makes the statement, with --key")]


@ledger.command()
def add(
    folder: LedgerPath,
    recipe: RecipeFile,
    overrides: Overrides = None,
    identifier: Annotated[
        str | None, typer.Option("--id", help="your name for the request, no person's; request-N")
    ] = None,
    received: Received = None,
    field: Fields = None,
    key: Key = None,
    operator: Operator = None,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="in the place of the earlier requests whose data the recipe names too"),
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with an interrupted request")] = False,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Run a request, a recipe with one forget set, on the model that the last one left, and append its entry."""
    from ..ledger.add import add  # here for the start-up time, as below

    with trusting(trust_remote_code):
        entry = add(
            folder,
            recipe,
            overrides or [],
            identifier=identifier,
            received=_moment(received),
            fields=_fields(field) or None,
            key=key,
            operator=operator,
            anew=anew,
            resume=resume,
        )
    if entry.facts is not None and entry.facts.verdict is not None:
        print(f"Verdict: {entry.facts.verdict.headline}", file=sys.stderr)
    print(f"{folder / 'entries'}/{entry.number:04}.json")


@ledger.command("list")
def list_entries(folder: LedgerPath, as_json: AsJson = False) -> None:
    """Every entry in a line."""
    from ..folder.ledger import LedgerFolder

    records = LedgerFolder(folder)
    entries = records.entries
    if as_json:
        print(json.dumps([entry.model_dump(mode="json") for entry in entries], indent=2, ensure_ascii=False))
        return
    for entry in entries:
        signed = ", attested" if records.attestation(entry.number).is_dir() else ""
        print(f"{entry.number:>4}  {entry.id}  received {entry.received}, done {entry.done}{signed}")
        print(f"      {_outcome(entry, entries)}")


@ledger.command()
def show(folder: LedgerPath, request: Named, as_json: AsJson = False) -> None:
    """All that an entry says."""
    from ..folder.ledger import LedgerFolder

    records = LedgerFolder(folder)
    entry = records.find(request)
    if as_json:
        print(json.dumps(entry.model_dump(mode="json"), indent=2, ensure_ascii=False))
        return
    _print_entry(entry, records.entries)


@ledger.command()
def verify(
    folder: LedgerPath,
    key: Annotated[
        Path | None, typer.Option(help="the signer's public key: check the attestations too")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check every file, every link of the chain, and with --key every signature."""
    from ..ledger.verify import verify_ledger

    print_checks(verify_ledger(folder, key), as_json, {})


@ledger.command()
def rollback(
    folder: LedgerPath,
    request: Named,
    received: Received = None,
    field: Fields = None,
    key: Key = None,
    operator: Operator = None,
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Leave the adapter of a request out from now on; measures what that brings back, and appends an entry."""
    from ..folder.ledger import LedgerFolder
    from ..ledger.rollback import rollback

    with trusting(trust_remote_code):
        rollback(
            folder, request, received=_moment(received), fields=_fields(field), key=key, operator=operator
        )
    entries = LedgerFolder(folder).entries
    _print_entry(entries[-1], entries)


def _fields(given: list[str] | None) -> dict[str, str]:
    fields = {}
    for each in given or []:
        name, equals, value = each.partition("=")
        if not equals or not name or name in fields:
            raise InputError(
                Problem("--field", "one is no KEY=VALUE, or names a key twice.", "Write KEY=VALUE.")
            )
        fields[name] = value
    return fields


def _moment(given: str | None) -> str | None:
    """The moment in UTC, as the ledger writes its own."""
    from datetime import datetime, timezone

    if given is None:
        return None
    try:
        # Of a year outside 1 to 9999 in UTC there is no moment either.
        return datetime.fromisoformat(given).astimezone(timezone.utc).isoformat(timespec="seconds")
    except (ValueError, OverflowError):
        raise InputError(
            Problem("--received", f"{given!r} is no date.", "Write it as 2026-11-26T09:00.")
        ) from None


def _outcome(entry: Entry, entries: list[Entry]) -> str:
    kept = entry.utility
    share = (
        ""
        if kept is None or not kept.original
        else f" Utility {kept.after / kept.original:.1%} of that before entry {kept.since}."
    )
    if entry.facts is None:
        assert entry.rolled_back is not None
        return f"Request {entry.rolled_back} ({entries[entry.rolled_back - 1].id}) is left out.{share}"
    later = "" if entry.ended or entry.number in entries[-1].active else f" {_left_out(entry, entries)}"
    instead = f" In the place of {', '.join(map(str, entry.replaces))}." if entry.replaces else ""
    verdict = entry.facts.verdict.headline if entry.facts.verdict else "No verdict."
    return f"{entry.facts.forget_set.samples} samples. {verdict}{instead}{share}{later}"


def _left_out(entry: Entry, entries: list[Entry]) -> str:
    """Why a request's adapter is no longer in the model."""
    by = next((each for each in entries if entry.number in each.replaces), None)
    if by is None:
        return "Rolled back."
    return f"Replaced by {by.number}{'' if by.number in entries[-1].active else ', which is no longer in place'}."


def _print_entry(entry: Entry, entries: list[Entry]) -> None:
    print(f"Entry {entry.number}: {entry.id}")
    print(f"received {entry.received}, done {entry.done}")
    for name, value in entry.fields.items():
        print(f"{name}: {value}")
    print(_outcome(entry, entries))
    if entry.facts is not None:
        facts = entry.facts
        print(f"Merkle root of the forget set (salted): {facts.forget_set.merkle_root}")
        print(f"recipe {facts.recipe}, base {facts.base.fingerprint}")
        print(f"method: {facts.method}")
        print(f"  {'figure':<36}{'before':>12}{'after':>12}{'reference':>12}")
        for name, figure in facts.figures.items():
            sides = [figure.before, figure.after, figure.reference]
            shown = "".join(f"{side.value:>12.4g}" if side else f"{'':>12}" for side in sides)
            print(f"  {name:<36}{shown}")
        for attack in facts.attacks:
            print(f"  {attack.category}: {', '.join(each.name for each in attack.by) or 'not run'}")
    _print_forget_sets(entry, entries)


def _print_forget_sets(entry: Entry, entries: list[Entry]) -> None:
    """Of every request the figure that is judged first: before it, before this entry, after this entry."""
    from ..ledger.rows import forget_set_rows

    rows = forget_set_rows(entries[: entry.number])
    if rows:
        print(f"  {'forget set of':<36}{'originally':>12}{'before':>12}{'after':>12}")
    for row in rows:
        sides = (row.original, row.then, row.after)
        shown = "".join(f"{'':>12}" if side is None else f"{side:>12.4g}" for side in sides)
        print(f"  {row.request.number} ({row.request.id}), {row.name:<20}{shown}")
    for number, reason in entry.unmeasured.items():
        print(f"  request {number} ({entries[number - 1].id}): not measured, {reason}")
