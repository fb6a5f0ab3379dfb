"""What `factored` takes beyond the bare passes, part by part.

    python experiments/speed/breakdown.py --model narrow --forget forget01

Each repetition makes the bare passes (`extraction.py`) and then measures the importance with a clock around the parts:
the Gram matrices of the inputs with their products with δ, the sketch of the mean gradient, and the map of both sets.
What is left, hooks and sums over batches and the noise between both runs, is the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from extraction import BARE, RANK, bare
from side_by_side import Spread, Variant, clock, in_turn, on_the_cpu, parser, write
from workload import add_workload_options, batches, load_workload

from expunge.importance import measure, measure_importance
from expunge.importance.factored import Factored

GRAM, SUMS, SKETCH, MAP = "Gram matrices × δ", "statistics", "sketch of the mean", "map of both sets"
#: Part: where it is computed. The sketch is what the statistics take beside the Gram matrices.
PARTS = {GRAM: (Factored, "_gram_rows"), SUMS: (Factored, "sums"), MAP: (measure, "relative_row_importance")}
COLUMNS = ["part", "seconds", "÷ bare"]


@contextmanager
def timed(parts: Mapping[str, tuple[Any, str]], now: Callable[[], float]) -> Iterator[dict[str, float]]:
    """Yields {part: seconds spent in it}, filled while the block runs; a part within another counts for both."""
    seconds = dict.fromkeys(parts, 0.0)
    before = {part: getattr(owner, name) for part, (owner, name) in parts.items()}

    def watched(part: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            started = now()
            try:
                return before[part](*arguments, **options)
            finally:
                seconds[part] += now() - started

        return call

    for part, (owner, name) in parts.items():
        setattr(owner, name, watched(part))
    try:
        yield seconds
    finally:
        for part, (owner, name) in parts.items():
            setattr(owner, name, before[part])


def shares(bare_seconds: float, whole: float, parts: Mapping[str, float]) -> dict[str, float]:
    """Seconds of every row of the table, of one repetition."""
    found = {GRAM: parts[GRAM], SKETCH: parts[SUMS] - parts[GRAM], MAP: parts[MAP]}
    return {
        BARE: bare_seconds,
        **found,
        "the rest": whole - bare_seconds - sum(found.values()),
        "factored": whole,
    }


def main() -> None:
    made = parser(__doc__, "breakdown", repetitions=5)
    add_workload_options(made)
    options = made.parse_args()
    on_the_cpu()
    torch.set_num_threads(options.threads)
    work = load_workload(options)
    model, forget, retain = work.model(), batches(work.forget), batches(work.retain)
    of_parts: list[dict[str, float]] = []

    def factored() -> None:
        with timed(PARTS, clock()[1]) as parts:
            measure_importance(model, forget, retain, estimator="factored", rank=RANK)
        of_parts.append(parts)

    chosen = {BARE: Variant(lambda: bare(model, forget + retain)), "factored": Variant(factored)}
    seconds = in_turn(chosen, options.repetitions)
    found = [shares(*each) for each in zip(seconds[BARE], seconds["factored"], of_parts, strict=True)]
    rows = [
        {
            "part": part,
            "seconds": Spread.of([each[part] for each in found]),
            "÷ bare": Spread.of([each[part] / each[BARE] for each in found]),
        }
        for part in found[0]
    ]
    write(options, COLUMNS, rows, work.describe())


if __name__ == "__main__":
    main()
