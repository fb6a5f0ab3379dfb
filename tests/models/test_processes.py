"""Processes that share the work end cleanly: whoever launched them sees success, or a failure, at once."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ENDING = """
import atexit, sys
import torch.distributed

def group_at_the_end():
    print("group left" if not torch.distributed.is_initialized() else "group kept", flush=True)

atexit.register(group_at_the_end)  # the first one registered runs last
from expunge.models.processes import gathered, processes

assert gathered({processes().process_index: 1}) == {0: 1, 1: 1}
if sys.argv[1] == "fail" and processes().process_index == 1:
    sys.exit(7)
if sys.argv[1] == "fail":
    gathered({0: 1})  # waits for the one that has gone
"""


def ended(tmp_path: Path, how: str) -> subprocess.CompletedProcess:
    script = tmp_path / "ending.py"
    script.write_text(ENDING)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    return subprocess.run(
        [*launcher, str(script), how], capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
def test_every_process_leaves_the_group_before_the_interpreter_ends(tmp_path: Path) -> None:
    """gloo's threads abort about one process in ten that does not (`terminate called without an active exception`)."""
    finished = ended(tmp_path, "well")
    assert finished.returncode == 0, finished.stderr
    assert (finished.stdout.count("group left"), finished.stdout.count("group kept")) == (2, 0)


@pytest.mark.slow
def test_a_process_that_fails_does_not_leave_the_others_waiting(tmp_path: Path) -> None:
    """It leaves too, without waiting for them; they lose the connection or are ended by the launcher."""
    assert ended(tmp_path, "fail").returncode != 0  # and ended at all
