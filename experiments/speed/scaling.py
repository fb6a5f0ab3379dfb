"""How the cost of each phase grows: exponents fitted to measured seconds, one size varied at a time.

    python experiments/speed/scaling.py

From a base of 8 sequences of 64 tokens, width 256, 2 layers, rank 8 and 2,048 tokens in the vocabulary, each size is
raised twice; seconds ∝ size^exponent is fitted by least squares on the logarithms. The exponent of the operations
that the phase needs for the same sizes, counted by torch, is beside it: where the measured one is lower, fixed costs
are not yet small. Random tokens, so that the lengths are exact; half of each sequence is an answer.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from side_by_side import Variant, in_turn, on_the_cpu, parser, write
from torch.utils.flop_counter import FlopCounterMode
from workload import batches, random_llama

from expunge.adapters.attach import attach_adapter, uniform_importance
from expunge.data.encoding import Example
from expunge.importance import measure_importance
from expunge.models.answers import IGNORED
from expunge.objectives.settings import ObjectiveSettings
from expunge.training.objective import build_objective
from expunge.training.settings import Training
from expunge.training.train import build_trainer

BASE = {"samples": 8, "length": 64, "width": 256, "layers": 2, "rank": 8, "vocabulary": 2048}
SIZES = {
    "samples": (8, 16, 32),
    "length": (32, 64, 128),
    "width": (128, 256, 512),
    "layers": (2, 4, 8),
    "rank": (8, 16, 32),
    "vocabulary": (2048, 8192, 32768),
}
COLUMNS = ["size", "phase", "values", "seconds", "exponent", "exponent of the operations"]


def fitted_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The slope b of log cost = a + b · log size, by least squares."""
    x, y = ([math.log(value) for value in values] for values in (sizes, costs))
    centre_x, centre_y = sum(x) / len(x), sum(y) / len(y)
    above = sum((a - centre_x) * (b - centre_y) for a, b in zip(x, y, strict=True))
    return above / sum((a - centre_x) ** 2 for a in x)


def random_examples(sizes: Mapping[str, int], seed: int) -> list[Example]:
    length = sizes["length"]
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, sizes["vocabulary"], (sizes["samples"], length), generator=generator).tolist()
    prompt = length // 2
    return [Example(row, [IGNORED] * prompt + row[prompt:]) for row in ids]


def phases(sizes: Mapping[str, int], folder: Path) -> dict[str, Callable[[], Any]]:
    shape = {
        "hidden_size": sizes["width"],
        "intermediate_size": 3 * sizes["width"],
        "num_hidden_layers": sizes["layers"],
        "num_attention_heads": 4,
        "vocab_size": sizes["vocabulary"],
    }
    model, plain = random_llama(shape), random_llama(shape)
    forget, retain = random_examples(sizes, 0), random_examples(sizes, 1)
    adapted = attach_adapter(random_llama(shape), uniform_importance(model), rank=sizes["rank"])
    training = Training(epochs=1, batch_size=sizes["samples"], micro_batch_size=8, warmup=0)

    def extraction(estimator: str) -> None:
        measure_importance(model, batches(forget), batches(retain), estimator=estimator, rank=sizes["rank"])

    def train() -> None:
        build_trainer(
            adapted, forget, retain, objective=build_objective(ObjectiveSettings()), training=training, seed=0,
            pad_token_id=0, checkpoints=folder, callbacks=[], save=False,
        ).train()  # fmt: skip

    def place() -> None:
        attach_adapter(plain, uniform_importance(plain), rank=sizes["rank"]).unload()

    return {
        "extraction, factored": lambda: extraction("factored"),
        "extraction, vila": lambda: extraction("vila"),
        "initialisation": place,
        "training, ihl": train,
    }


def operations(run: Callable[[], Any]) -> float:
    with FlopCounterMode(display=False) as counter:
        run()
    return float(counter.get_total_flops())


def main() -> None:
    options = parser(__doc__, "scaling", repetitions=2).parse_args()
    on_the_cpu()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for size, values in SIZES.items():
            runs = {value: phases({**BASE, size: value}, Path(name)) for value in values}
            for phase in runs[values[0]]:
                variants = {str(value): Variant(found[phase]) for value, found in runs.items()}
                seconds = {
                    value: min(times) for value, times in in_turn(variants, options.repetitions).items()
                }
                needed = [operations(found[phase]) for found in runs.values()]
                rows.append({
                    "size": size,
                    "phase": phase,
                    "values": ", ".join(map(str, values)),
                    "seconds": ", ".join(f"{value:.3g}" for value in seconds.values()),
                    "exponent": fitted_exponent(values, list(seconds.values())),
                    "exponent of the operations": fitted_exponent(values, needed) if min(needed) > 0 else None,
                })  # fmt: skip
    write(options, COLUMNS, rows, {"base": BASE})


if __name__ == "__main__":
    main()
