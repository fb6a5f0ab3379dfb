"""How far the sketch of the mean moves `factored`'s order of rows, by the number of samples.

    python experiments/speed/sketch.py

tofu-tiny's layers are small enough for the mean itself; here all are sketched as those of a large model are, and held
against the exact ones. Rank correlation (Spearman) of d within each layer: the mean over the layers and, in brackets,
the lowest.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from side_by_side import on_the_cpu, parser, write
from transformers import AutoModelForCausalLM
from workload import batches, load_workload

from expunge.importance import factored, measure_importance

SAMPLES = (2, 4, 8, 16, 24, 40, 200)
SEEDS = (0, 1)
COLUMNS = ["samples of each set", "width", "sketched and exact", "seed 0 and seed 1"]


def correlation(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> str:
    found = [float(spearmanr(ours[name], theirs[name])[0]) for name in ours]
    return f"{sum(found) / len(found):.4f} ({min(found):.4f})"


def main() -> None:
    arguments = parser(__doc__, "sketch")
    arguments.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with TOFU's files")
    options = arguments.parse_args()
    on_the_cpu()
    torch.set_num_threads(options.threads)
    options.model, options.forget, options.samples = "narrow", "forget05", None  # the texts alone are used
    work = load_workload(options)
    path = options.shared / "models" / "tofu-tiny" / "full"
    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    exact_up_to = factored.EXACT_MEAN_NUMBERS
    rows: list[dict[str, Any]] = []
    for count in SAMPLES:
        forget, retain = batches(work.forget[:count]), batches(work.retain[:count])
        factored.EXACT_MEAN_NUMBERS = exact_up_to
        exact = measure_importance(model, forget, retain)
        factored.EXACT_MEAN_NUMBERS = 0
        sketched = [measure_importance(model, forget, retain, seed=seed) for seed in SEEDS]
        rows.append({
            "samples of each set": count,
            "width": factored.sketch_width(count),
            "sketched and exact": correlation(sketched[0], exact),
            "seed 0 and seed 1": correlation(*sketched),
        })  # fmt: skip
    write(options, COLUMNS, rows, {"model": "tofu-tiny/full", "forget": options.forget})


if __name__ == "__main__":
    main()
