"""The arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipeFile = Annotated[Path, typer.Argument(help="recipe (YAML), or the name of a shipped one")]
Overrides = Annotated[list[str] | None, typer.Argument(help="key.sub=value, over what the recipe says")]
Strict = Annotated[
    bool, typer.Option("--strict", help="exit code 3 unless it is forgotten, with the utility kept")
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option(
        "--trust-remote-code", help="run Python code that comes with models and task files, in this call"
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="one JSON document on stdout, nothing else there")]
