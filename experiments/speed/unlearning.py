"""Training: tokens and samples a second, and peak memory, per objective, against the research code's procedure.

    python experiments/speed/unlearning.py --model narrow

Ours is the trainer of a run: anchored adapters of rank 8 on all linear layers, one epoch over `--samples` forget
samples with as many retain samples. The reference (`reference_procedure.py`) pads to 500 tokens, runs forget and
retain apart through full logits and keeps a deep copy as oracle; one of its micro-batches is timed and scaled to the
same samples. Both take `--micro-batch` forget samples, and as many retain samples, at a time. A sample is a forget
sample with its retain sample; tokens are the real ones, without padding.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

import reference_procedure as reference
import torch
from extraction import needed_flops
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
from workload import Workload, add_workload_options, load_workload, workload_arguments

from expunge.adapters.attach import attach_adapter, uniform_importance
from expunge.objectives.settings import ObjectiveSettings
from expunge.training.objective import build_objective
from expunge.training.settings import Training
from expunge.training.train import build_trainer

OBJECTIVES = ("ihl", "npo", "gd")
COLUMNS = ["variant", "seconds", "samples/s", "tokens/s", "reference ÷ it", "share of peak", "peak memory",
           "memory ÷ reference's", "note"]  # fmt: skip


def ours(work: Workload, objective: str, micro_batch: int) -> Variant:
    """One epoch of the trainer that a run uses."""
    model = work.model()
    model = attach_adapter(model, uniform_importance(model), rank=8, alpha=16)
    training = Training(epochs=1, batch_size=len(work.forget), micro_batch_size=micro_batch, warmup=0)
    folder = tempfile.TemporaryDirectory()  # nothing is saved in it; the Trainer wants one

    def epoch() -> None:
        build_trainer(
            model,
            work.forget,
            work.retain,
            objective=build_objective(ObjectiveSettings.model_validate(objective)),
            training=training,
            seed=0,
            pad_token_id=work.encoder.pad_token_id,
            checkpoints=Path(folder.name),
            callbacks=[],
            save=False,
        ).train()

    return Variant(epoch)


def theirs(work: Workload, objective: str, micro_batch: int) -> Variant:
    """One micro-batch of the reference procedure, scaled to all samples."""
    trainer = reference.ReferenceTrainer.prepare(work.model(), objective)
    forget, retain = (reference.padded_batches(side, micro_batch)[0] for side in (work.forget, work.retain))
    count = len(work.forget) // micro_batch
    return Variant(
        lambda: trainer.step([(forget, retain)]), scale=count, note=f"1 of {count} micro-batches timed"
    )


def variant(work: Workload, name: str, micro_batch: int) -> Variant:
    objective, _, whose = name.partition(", ")
    return (theirs if whose else ours)(work, objective, micro_batch)


def main() -> None:
    made = parser(__doc__, "unlearning", repetitions=2, memory=True)
    add_workload_options(made)
    made.set_defaults(samples=16)
    made.add_argument("--micro-batch", type=int, default=8)
    options = made.parse_args()
    on_the_cpu()
    torch.set_num_threads(options.threads)
    work = load_workload(options)
    if len(work.forget) % options.micro_batch:
        made.error(f"{len(work.forget)} samples are no multiple of --micro-batch {options.micro_batch}.")
    if options.peak_of:
        report_peak(lambda: variant(work, options.peak_of, options.micro_batch))
        return
    samples = len(work.forget)
    tokens = sum(len(example) for example in work.forget + work.retain)
    needed = needed_flops(work.model(), work.forget + work.retain)
    rows: list[dict[str, Any]] = []
    peaks = []
    for objective in OBJECTIVES:
        names = (objective, f"{objective}, reference")
        chosen = {name: variant(work, name, options.micro_batch) for name in names}
        seconds = in_turn({**chosen, "matmul": matmul_peak()}, options.repetitions)
        peaks += seconds["matmul"]
        for name in names:
            spread = Spread.of(seconds[name])
            row = {
                "variant": name,
                "seconds": spread,
                "samples/s": samples / spread.median,
                "tokens/s": tokens / spread.median,
                "share of peak": f"{needed / PEAK_FLOPS / ratio(seconds, name, 'matmul').median:.0%}",
                "note": chosen[name].note,
            }
            if not options.no_memory:
                arguments = workload_arguments(options, options.samples)
                arguments += ["--micro-batch", str(options.micro_batch), "--threads", str(options.threads)]
                row["peak memory"] = peak_memory(sys.argv[0], arguments, name)
            rows.append(row)
        rows[-2]["reference ÷ it"] = ratio(seconds, names[1], names[0])
        if not options.no_memory:
            rows[-2]["memory ÷ reference's"] = rows[-2]["peak memory"] / rows[-1]["peak memory"]
    write(
        options,
        COLUMNS,
        rows,
        work.describe(),
        needed_flops=needed,
        matmul_flops_per_second=PEAK_FLOPS / Spread.of(peaks).median,
    )


if __name__ == "__main__":
    main()
