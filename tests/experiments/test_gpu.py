"""The large test, on a small model: what it writes, and when."""

from __future__ import annotations

import json
from argparse import Namespace
from pathlib import Path

import pytest
from gpu import Bench
from side_by_side import Variant


def test_a_row_is_written_before_the_next_is_measured(tmp_path: Path) -> None:
    """Where a phase runs out of memory, what was measured before it is there."""
    options = Namespace(
        device="cpu", model="tiny", sizes=[2], shared=tmp_path, output=tmp_path / "gpu.json", repetitions=2
    )
    calls: list[int] = []

    def full() -> None:
        raise MemoryError

    bench = Bench(options)
    bench.row("extraction, vila", 2, Variant(lambda: calls.append(1)), flops=1.0, repetitions=2)
    with pytest.raises(MemoryError):
        bench.row("extraction, fila", 2, Variant(full))
    written = json.loads(options.output.read_text())
    assert [row["phase"] for row in written["rows"]] == ["extraction, vila"]
    assert written["rows"][0]["seconds"]["low"] > 0
    assert written["workload"]["lengths"] == "drawn"
    assert len(calls) == 2
