"""The benchmarks by name. Packages add theirs, a `Declaration`, by the entry point `expunge.benchmarks`."""

from __future__ import annotations

from typing import Any

from ..data.settings import Data, OwnData
from ..registry import Registry
from .declaration import Declaration

benchmarks: Registry[Declaration[Any]] = Registry(
    "benchmark",
    "evaluation.benchmark",
    group="expunge.benchmarks",
    of="expunge.benchmarks.declaration:Declaration",
    builtin={
        "tofu": "expunge.benchmarks.tofu.declaration:TOFU",
        "muse": "expunge.benchmarks.muse.declaration:MUSE",
        "tdec": "expunge.benchmarks.tdec.declaration:TDEC",
        "memorization": "expunge.benchmarks.memorization.declaration:MEMORIZATION",
        "wmdp": "expunge.benchmarks.harness.declaration:WMDP",
        "reasoning": "expunge.benchmarks.harness.declaration:REASONING",
        "lm-eval": "expunge.benchmarks.harness.declaration:HARNESS",
        "dialogue": "expunge.benchmarks.dialogue.declaration:DIALOGUE",
    },
)


def section_of(data_format: Any) -> type[Data]:
    """The recipe's section `data` of that `format`: a benchmark's own, else that for the user's files."""
    if isinstance(data_format, str) and data_format in benchmarks:
        return benchmarks[data_format].data or OwnData
    return OwnData


def measured_by_default(data_format: str) -> str:
    """The benchmark of a run whose data are of that format, where the recipe names none."""
    return data_format if section_of(data_format) is not OwnData else "memorization"
