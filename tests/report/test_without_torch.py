"""Reports are drawn without torch: it takes seconds to import, and a run's folder needs none of it."""

from __future__ import annotations

import subprocess
import sys

CHECK = "loaded = {'torch', 'transformers', 'peft'} & set(sys.modules); assert not loaded, loaded"


def python(code: str, *arguments: str) -> None:
    """Run `code` in a fresh interpreter."""
    result = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\n{CHECK}", *arguments],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr


def test_the_package_imports_without_torch():
    python(
        "import expunge.report.page, expunge.report.continual, "
        "expunge.benchmarks.tofu.metrics, expunge.evaluation.set_metrics"
    )


def test_the_command_writes_a_report_without_torch(make_run):
    run = make_run()
    python("sys.argv[0] = 'expunge'\nfrom expunge.cli import main\nmain()", "report", str(run))
    assert (run / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_what_is_told_before_a_run_loads_nothing_that_draws():
    subprocess.run(
        [sys.executable, "-c", "import sys, expunge.cost.plan; assert 'matplotlib' not in sys.modules"],
        check=True,
    )
