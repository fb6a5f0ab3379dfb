"""Importance extraction: every estimator against the research code's procedure and against the bare passes.

    python experiments/speed/extraction.py --model narrow --forget forget01

The reference procedure (`reference_procedure.py`) would take minutes to hours, so `--reference-batches` batches of 4
sequences are timed and multiplied by the number of batches of both sets and of passes; what it does once, the map of
each set, is timed once and added. `bare` is one forward and one
backward pass over the same batches with frozen weights, `bare, weights` the same with all weight gradients.
Stored bytes: what is kept once both sets have passed. Accumulators: what is held for one set while measuring.
Share of peak: operations that the forward and the activations' backward pass of the real tokens need, over what the
machine's matrix products make in the same time.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import reference_procedure as reference
import torch
from side_by_side import (
    PEAK_FLOPS,
    Spread,
    Variant,
    in_turn,
    matmul_peak,
    on_the_cpu,
    parser,
    peak_memory,
    ratio,
    report_peak,
    write,
)
from workload import Workload, add_workload_options, batches, load_workload, workload_arguments

from expunge.data.encoding import Example
from expunge.importance import estimators, measure_importance
from expunge.importance.estimator import Layer
from expunge.models.answers import answer_tokens
from expunge.models.linear import linear_layers, matrix_shape

RANK = 8
BARE, WEIGHTS, COMPILED = "bare", "bare, weights", "bare, compiled"
REFERENCES = {
    "reference VILA, 10 passes": ("vila", reference.PASSES["vila"]),
    "reference FILA, 10 passes": ("fila", reference.PASSES["fila"]),
    "reference FILA, 1 pass": ("fila", reference.PASSES["fila_loku"]),
}
COLUMNS = ["variant", "seconds", "× bare", "reference VILA ÷ it", "reference FILA ÷ it", "share of peak",
           "peak memory", "stored bytes", "accumulator bytes", "note"]  # fmt: skip


def bare(model: Any, data: list[reference.Batch], weights: bool = False) -> None:
    """A forward and a backward pass of every batch, answer positions only."""
    model.requires_grad_(weights)
    hook = model.get_input_embeddings().register_forward_hook(
        lambda _m, _i, output: output.requires_grad_(True)
    )
    try:
        for batch in data:
            answer_tokens(model, batch).log_probability.sum().backward()
    finally:
        hook.remove()
        model.zero_grad()


def needed_flops(model: Any, examples: list[Example]) -> float:
    """Forward and activations' backward pass of the real tokens: two operations a multiply-add.

    Attention's products with keys and values are left out: at these lengths they are a few per cent.
    """
    linear = sum(math.prod(matrix_shape(module)) for module in linear_layers(model).values())
    head = math.prod(matrix_shape(model.get_output_embeddings()))
    tokens = sum(len(example) for example in examples)
    answers = sum(example.label_count for example in examples)
    return 4.0 * (linear * tokens + head * answers)


def variant(work: Workload, name: str, reference_batches: int) -> Variant:
    """One row, with a model of its own."""
    model = work.model()
    if name in REFERENCES:
        kind, passes = REFERENCES[name]
        padded = [reference.padded_batches(side) for side in (work.forget, work.retain)]
        count = passes * sum(len(each) for each in padded)
        if kind == "vila":
            perturbed = reference.perturbed_model(model, RANK)
            sums, finish = reference.Accumulated.of_vila(perturbed), reference.vila_map
        else:
            sums, finish = reference.Accumulated.of_fila(model), reference.fila_map
        return reference_variant(sums, finish, padded[0][:reference_batches], count)
    forget, retain = batches(work.forget), batches(work.retain)
    if name in estimators:
        return Variant(lambda: measure_importance(model, forget, retain, estimator=name, rank=RANK))
    if name == WEIGHTS:
        return Variant(lambda: bare(model, forget + retain, weights=True), note="all weight gradients")
    if name == BARE:
        return Variant(lambda: bare(model, forget + retain))
    for block in model.model.layers:
        block.compile(dynamic=True)
    started = time.perf_counter()
    bare(model, forget + retain)
    note = f"torch.compile; the first pass took {time.perf_counter() - started:.0f} s of wall time"
    return Variant(lambda: bare(model, forget + retain), note=note)


def reference_variant(
    sums: reference.Accumulated,
    finish: Callable[[reference.Accumulated], Any],
    data: list[reference.Batch],
    count: int,
) -> Variant:
    """The reference procedure: sums over `data`, scaled to `count` batches, and once the maps of both sets.

    That it then forms rows of the maps is left out, to its favour.
    """
    sums.add(data)  # what is timed adds to sums that are there

    def maps_of_both_sets() -> None:
        for _ in range(2):
            finish(sums)

    return Variant(
        lambda: sums.add(data),
        scale=count / len(data),
        note=f"{len(data)} of {count} batches timed",
        once=maps_of_both_sets,
    )


def accumulator_bytes(model: Any, estimator: str) -> int:
    """Bytes that an estimator holds for one set."""
    total = 0
    for name, module in linear_layers(model).items():
        d_out, d_in = matrix_shape(module)
        kind = estimators[estimator](Layer(name, d_out, d_in, RANK), torch.device("cpu"))
        sums = kind.sums(torch.zeros(1, 1, d_in), torch.zeros(1, 1, d_out))
        total += sum(value.numel() * value.element_size() for value in sums.values())
    return total


def stored_bytes(model: Any, variant: str) -> int:
    """What is kept of both sets: d for every row here; there a map, or A's and B's variances, of each set."""
    shapes = [matrix_shape(module) for module in linear_layers(model).values()]
    if variant not in REFERENCES:
        return 4 * sum(d_out for d_out, _ in shapes)
    if REFERENCES[variant][0] == "vila":
        return 2 * 4 * sum(2 * RANK * (d_out + d_in) for d_out, d_in in shapes)
    return 2 * 4 * sum(d_out * d_in for d_out, d_in in shapes)


def main() -> None:
    made = parser(__doc__, "extraction", repetitions=2, memory=True)
    add_workload_options(made)
    made.add_argument("--reference-batches", type=int, default=1)
    made.add_argument("--estimators", nargs="+", choices=list(estimators), default=list(estimators))
    made.add_argument("--compile", action="store_true", help="the bare passes with torch.compile as well")
    options = made.parse_args()
    on_the_cpu()
    torch.set_num_threads(options.threads)
    work = load_workload(options)
    if options.peak_of:
        report_peak(lambda: variant(work, options.peak_of, 1))
        return
    model = work.model()
    names = [BARE, WEIGHTS, *([COMPILED] if options.compile else []), *options.estimators, *REFERENCES]
    chosen = {name: variant(work, name, options.reference_batches) for name in names}
    seconds = in_turn({**chosen, "matmul": matmul_peak()}, options.repetitions)
    needed = needed_flops(model, work.forget + work.retain)
    rows = []
    for name, each in chosen.items():
        measured = name in estimators
        row: dict[str, Any] = {
            "variant": name,
            "seconds": Spread.of(seconds[name]),
            "× bare": ratio(seconds, name, "bare"),
            "share of peak": f"{needed * PEAK_FLOPS**-1 / ratio(seconds, name, 'matmul').median:.0%}",
            "note": each.note,
        }
        if measured:
            row["reference VILA ÷ it"] = ratio(seconds, "reference VILA, 10 passes", name)
            row["reference FILA ÷ it"] = ratio(seconds, "reference FILA, 10 passes", name)
            row["accumulator bytes"] = accumulator_bytes(model, name)
        if measured or name in REFERENCES:
            row["stored bytes"] = stored_bytes(model, name)
        if not options.no_memory and name != COMPILED:
            arguments = [*workload_arguments(options, 40), "--threads", str(options.threads)]
            row["peak memory"] = peak_memory(sys.argv[0], arguments, name)
        rows.append(row)
    peak = PEAK_FLOPS / Spread.of(seconds["matmul"]).median
    write(options, COLUMNS, rows, work.describe(), needed_flops=needed, matmul_flops_per_second=peak)


if __name__ == "__main__":
    main()
