"""`expunge attest`: a signed statement of what a run, or a ledger's entry, has done."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def attest(
    what: Annotated[
        Path, typer.Argument(metavar="RUN|ENTRY", help="folder of a run, or LEDGER/entries/NNNN.json")
    ],
    key: Annotated[Path, typer.Option(help="private key that `expunge keygen` wrote")],
    output: Annotated[Path | None, typer.Option(help="folder to write; RUN/attestation")] = None,
    request: Annotated[
        str | None, typer.Option(help="your name for the request, no person's; the run's name")
    ] = None,
    operator: Annotated[str | None, typer.Option(help="who makes the statement")] = None,
) -> None:
    """Write a signed statement of what was forgotten, measured and not covered, and a certificate for people."""
    from ..run.attest import attest  # here for the start-up time

    print(attest(what, key, output, request=request, operator=operator))
