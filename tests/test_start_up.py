"""What starts without torch, which takes seconds to load: the command line, recipes, and figures from logs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

#: Runs the command line on its arguments, and fails where torch was imported.
WITHOUT_TORCH = """
import sys
from expunge.cli import main
sys.argv = ["expunge", *sys.argv[1:]]
try:
    main()
finally:
    assert "torch" not in sys.modules
"""


def python(code: str, *arguments: object) -> str:
    ran = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.mark.parametrize(
    "module",
    [
        "expunge",
        "expunge.cli",
        "expunge.ledger.verify",
        "expunge.recipe",
        "expunge.losses",
        "expunge.objectives.registry",
        "expunge.importance.registry",
        "expunge.benchmarks.tofu.score",
    ],
)
def test_importing_it_loads_no_torch(module: str) -> None:
    python(f"import sys, {module}; assert 'torch' not in sys.modules")


def test_every_benchmark_is_declared_without_torch() -> None:
    """And so are the names of all that is looked up later."""
    python(
        "import sys\n"
        "from expunge.benchmarks.registry import benchmarks\n"
        "from expunge.objectives import forget_losses, retain_losses\n"
        "from expunge.importance import estimators\n"
        "assert len(benchmarks.loadable()[0]) == len(benchmarks) > 7\n"
        "assert 'ihl' in forget_losses and 'nll' in retain_losses and 'vila' in estimators\n"
        "assert 'torch' not in sys.modules"
    )


@pytest.mark.parametrize(
    "arguments", [["--version"], ["eval", "--help"], ["sweep", "--help"], ["recipes", "ls"]]
)
def test_the_command_line_starts_without_torch(arguments: list[str]) -> None:
    assert python(WITHOUT_TORCH, *arguments)


@pytest.mark.shared
def test_figures_of_logs_are_computed_without_torch(shared: Path) -> None:
    logs = shared / "data" / "tofu_logs"
    printed = python(
        WITHOUT_TORCH, "score", "tofu", logs / "phi_full.json", "--reference", logs / "phi_retain90.json",
        "--rows", "--json",
    )  # fmt: skip
    assert json.loads(printed)["metrics"]["forget_quality"]["value"] == pytest.approx(2.1942743e-16, rel=1e-6)
