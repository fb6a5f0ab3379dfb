"""`expunge keygen`: a key to sign with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def keygen(
    file: Annotated[Path, typer.Argument(help="file for the private key; the public one is FILE.pub")],
) -> None:
    """Make an Ed25519 key: FILE signs and stays with you, FILE.pub is for whoever checks."""
    from ..evidence.keys import make_key  # here for the start-up time

    print(make_key(file))
