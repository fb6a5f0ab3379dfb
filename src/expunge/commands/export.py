"""`expunge export`: the deliverable of a finished run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..trust import trusting
from .parameters import TrustRemoteCode


def export(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="folder of a finished run")],
    output: Annotated[Path, typer.Option(help="folder to write")],
    to: Annotated[str, typer.Option(help="adapter, merged or assistant")] = "adapter",
    trust_remote_code: TrustRemoteCode = False,
) -> None:
    """Write a run's result: the adapter for the untouched base, or the model with the change merged in."""
    from ..run.export import export_run  # here for the start-up time

    with trusting(trust_remote_code):
        print(export_run(run_folder, to, output))
