"""Importance extraction: every estimator against the research code's procedure and against the bare passes.

    python benchmarks/extraction.py --model narrow --forget forget01

The reference procedure (`reference_procedure.py`) would take minutes to hours, so `--reference-batches` batches of 4
sequences are timed and multiplied by the number of batches of both sets and of passes. `bare` is one forward and one
backward pass over the same batches with frozen weights, `bare, weights` the same with all weight gradients.
Stored bytes: what is kept once both sets have passed. Accumulators: what is held for one set while measuring.
Share of peak: operations that the forward and the activations' backward pass of the real tokens need, over what the
machine's matrix products make in the same time.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Sequence
from typing import Any

import reference_procedure as reference
import torch
from side_by_side import (
    PEAK_FLOPS,
    Spread,
    Variant,
    in_turn,
    matmul_peak,
    parser,
    peak_memory,
    ratio,
    report_peak,
    write,
)
from workload import Workload, add_workload_options, batches, load_workload

from expunge.data.encoding import Example
from expunge.importance import estimators, measure_importance
from expunge.importance.estimator import Layer
from expunge.models.answers import answer_tokens
from expunge.models.linear import linear_layers, matrix_shape

RANK = 8
COMPILED = "bare, compiled"
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


def variants(
    work: Workload, reference_batches: int, measured: Sequence[str], compiled: bool = False
) -> dict[str, Variant]:
    model = work.model()
    forget, retain = batches(work.forget), batches(work.retain)
    found = {"bare": Variant(lambda: bare(model, forget + retain))}
    found["bare, weights"] = Variant(
        lambda: bare(model, forget + retain, weights=True), note="all weight gradients"
    )
    if compiled:
        quick = work.model()
        for block in quick.model.layers:
            block.compile(dynamic=True)
        started = time.perf_counter()
        bare(quick, forget + retain)
        found[COMPILED] = Variant(
            lambda: bare(quick, forget + retain),
            note=f"torch.compile; the first pass took {time.perf_counter() - started:.0f} s of wall time",
        )
    for name in measured:
        found[name] = Variant(
            lambda name=name: measure_importance(model, forget, retain, estimator=name, rank=RANK)
        )
    for name, (kind, passes) in REFERENCES.items():
        data = reference.padded_batches(work.forget)[:reference_batches]
        count = len(reference.padded_batches(work.forget)) + len(reference.padded_batches(work.retain))
        note = f"{len(data)} of {passes * count} batches timed"
        if kind == "vila":
            perturbed = reference.perturbed_model(work.model(), RANK)
            run = lambda model=perturbed, data=data: reference.vila_importance(model, data, passes=1)  # noqa: E731
        else:
            whole = work.model()
            run = lambda model=whole, data=data: reference.fila_importance(model, data, passes=1)  # noqa: E731
        found[name] = Variant(run, scale=passes * count / len(data), note=note)
    # One measurement serves both numbers of passes of FILA.
    return found


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
    made = parser(__doc__, "extraction", repetitions=2)
    add_workload_options(made)
    made.add_argument("--reference-batches", type=int, default=1)
    made.add_argument("--estimators", nargs="+", choices=list(estimators), default=list(estimators))
    made.add_argument("--compile", action="store_true", help="the bare passes with torch.compile as well")
    options = made.parse_args()
    torch.set_num_threads(options.threads)
    work = load_workload(options)
    if options.peak_of:
        report_peak(lambda: variants(work, 1, options.estimators)[options.peak_of].run())
        return
    model = work.model()
    chosen = variants(work, options.reference_batches, options.estimators, options.compile)
    once = "reference FILA, 1 pass"  # the same batches as with 10 passes, only scaled otherwise
    timed = {name: variant for name, variant in chosen.items() if name != once}
    seconds = in_turn({**timed, "matmul": matmul_peak()}, options.repetitions)
    ten = "reference FILA, 10 passes"
    seconds[once] = [value * chosen[once].scale / chosen[ten].scale for value in seconds[ten]]
    needed = needed_flops(model, work.forget + work.retain)
    rows = []
    for name, variant in chosen.items():
        measured = name in estimators
        row: dict[str, Any] = {
            "variant": name,
            "seconds": Spread.of(seconds[name]),
            "× bare": ratio(seconds, name, "bare"),
            "share of peak": f"{needed * PEAK_FLOPS**-1 / ratio(seconds, name, 'matmul').median:.0%}",
            "note": variant.note,
        }
        if measured:
            row["reference VILA ÷ it"] = ratio(seconds, "reference VILA, 10 passes", name)
            row["reference FILA ÷ it"] = ratio(seconds, ten, name)
            row["accumulator bytes"] = accumulator_bytes(model, name)
        if measured or name in REFERENCES:
            row["stored bytes"] = stored_bytes(model, name)
        if not options.no_memory and name != COMPILED:
            arguments = ["--shared", str(options.shared), "--model", options.model, "--samples", "8",
                         "--estimators", *options.estimators]  # fmt: skip
            row["peak memory"] = peak_memory(sys.argv[0], arguments, name)
        rows.append(row)
    peak = PEAK_FLOPS / Spread.of(seconds["matmul"]).median
    write(options, COLUMNS, rows, work.describe(), needed_flops=needed, matmul_flops_per_second=peak)


if __name__ == "__main__":
    main()
