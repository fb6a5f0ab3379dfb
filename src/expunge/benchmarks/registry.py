"""The benchmarks by name. A new one is a module with a function `open_benchmark`, named here.

The modules are imported when they are asked for: the recipe's schema and `--help` need the names alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import InputError, Problem, nearest

if TYPE_CHECKING:
    from ..data.encoding import Encoder
    from .benchmark import Benchmark

#: Name → the module, in this package, whose `open_benchmark(source, encoder)` makes it.
BENCHMARKS: dict[str, str] = {
    "tofu": "tofu.benchmark",
    "muse": "muse.benchmark",
    "tdec": "tdec.benchmark",
    "memorization": "memorization",
    "wmdp": "harness.wmdp",
    "reasoning": "harness.reasoning",
    "lm-eval": "harness.benchmark",
    "dialogue": "dialogue.benchmark",
}

#: Those that say what is forgotten, so that a run can choose its epoch by them; the others say what a model can do.
MEASURE_FORGETTING = ("tofu", "muse", "tdec", "memorization", "wmdp")


@dataclass(frozen=True)
class BenchmarkSource:
    """What a benchmark is made of.

    path:   a folder or hub id that holds the benchmark's files
    forget: name of the forget split, or the user's own file
    retain: name of the retain split, or the user's own file
    holdout: the user's own file of what the model never saw, for membership inference
    truth_ratio: TOFU's `geometric` or `arithmetic`, None for the published one
    max_new_tokens: longest generated answer, None for the benchmark's own
    samples: at most this many of each set, None for all
    columns: what the user's own files call the columns question, answer, messages and text, where otherwise
    """

    path: str | None = None
    forget: str | None = None
    retain: str | None = None
    holdout: str | None = None
    truth_ratio: str | None = None
    max_new_tokens: int | None = None
    samples: int | None = None
    columns: Mapping[str, str] = field(default_factory=dict)


def open_benchmark(name: str, source: BenchmarkSource, encoder: Encoder) -> Benchmark:
    """The benchmark `name` with its data loaded and checked. Raises `InputError` for what is wrong with either."""
    return _module(name).open_benchmark(source, encoder)


def open_held_out(name: str, source: BenchmarkSource, encoder: Encoder) -> Benchmark:
    """The benchmark over text that the model never saw, `source.path`; its `calibrated` metrics are the thresholds.

    Raises `InputError` for a benchmark without any, and for what is wrong with the text.
    """
    module = _module(name)
    if not hasattr(module, "open_held_out"):
        raise InputError(
            Problem(
                "--calibrate", f"the benchmark {name} has no thresholds.", "Leave it out, or calibrate tdec."
            )
        )
    return module.open_held_out(source, encoder)


def _module(name: str) -> Any:
    if name not in BENCHMARKS:
        raise InputError(Problem("benchmark", f"there is no benchmark {name!r}.", nearest(name, BENCHMARKS)))
    return import_module(f".{BENCHMARKS[name]}", __package__)
