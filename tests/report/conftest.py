from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from synthetic_run import write_run  # the one beside this file


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """`make_run(after=…, …)` writes a run folder and returns it; the arguments are those of `write_run`."""
    return lambda **arguments: write_run(tmp_path / "run", **arguments)
