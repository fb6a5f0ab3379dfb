"""`expunge verify`: the check of a signed statement, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .parameters import AsJson
from .printing import print_checks


def verify(
    file: Annotated[Path, typer.Argument(help="attestation.json")],
    key: Annotated[Path, typer.Option(help="the signer's public key, had from the signer")],
    deliverable: Annotated[Path | None, typer.Option(help="folder with what was handed over")] = None,
    as_json: AsJson = False,
) -> None:
    """Check a statement: its signature, that it is complete, and that what was handed over is what it speaks of."""
    from ..evidence import verify_statement  # here for the start-up time

    verified = verify_statement(file, key, deliverable)
    stated = verified.predicate.model_dump(mode="json", exclude_none=True) if verified.predicate else None
    print_checks(verified.checks, as_json, {"statement": stated})
