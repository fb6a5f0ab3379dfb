"""`expunge quickstart`: the main job on what the package itself carries."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .printing import print_outcome


def quickstart(
    output: Annotated[Path, typer.Option(help="run folder")] = Path("runs/quickstart"),
) -> None:
    """A tiny model forgets a few invented people: no network, no GPU; ends with the report's path."""
    from ..quickstart.run import run_quickstart  # here for the start-up time

    print_outcome(run_quickstart(output))
