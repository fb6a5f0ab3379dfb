"""What a model reaches of the speeds that kernels reach alone: the three shares in `run/device_speed.py`.

    python experiments/speed/cost_model_fit.py

Single passes (scoring, training, three estimators) of four models at two batch sizes are timed, and their work is
counted without content. Seconds ≈ a · products + b · traffic + c · launches, each term predicted from the speeds that
are measured right before; a, b, c ≥ 0 are fitted by least squares of the relative error. The shares are 1/a, 1/b, 1/c.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from scipy.optimize import nnls
from side_by_side import clock, on_the_cpu, parser, write
from workload import SHAPES, load_workload

from expunge.adapters.attach import attach_adapter, uniform_importance
from expunge.cost import device_speed
from expunge.cost.operations import Work
from expunge.cost.passes import Batches, Passes
from expunge.cost.shallow_models import ShallowModels
from expunge.data.encoding import collate
from expunge.importance import measure_importance
from expunge.models.answers import answer_tokens

#: The model of `tofu-tiny` beside those of the other benchmarks.
MODELS = {
    **SHAPES,
    "tofu-tiny": {
        "hidden_size": 192,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "vocab_size": 4096,
    },
}
ROWS = (4, 16)
ESTIMATORS = ("factored", "vila", "fila")
COLUMNS = ["model", "rows", "pass", "seconds", "products", "traffic", "launches", "fitted ÷ measured"]


def passes(
    options: argparse.Namespace, shape: str, rows: int
) -> list[tuple[str, Callable[[], Any], Work, Batches]]:
    """(name, what is timed, its work, its batch) of every pass of one model at one batch size."""
    work = load_workload(
        argparse.Namespace(shared=options.shared, model="narrow", forget="forget05", samples=64)
    )
    chosen = [sorted(work.forget + work.retain, key=len)[20 : 20 + rows]]
    batch, typical = collate(chosen[0], 0), Batches.of(chosen)
    model, wrapped = work.model(**MODELS[shape]), work.model(**MODELS[shape])
    counted = Passes(ShallowModels(model.config, torch.float32))
    adapted = attach_adapter(wrapped, uniform_importance(wrapped), rank=8, alpha=16).train()

    def scored() -> None:
        with torch.no_grad():
            tokens = answer_tokens(model, batch)
            _ = tokens.log_probability, tokens.correct

    def trained() -> None:
        answer_tokens(adapted, batch).log_probability.sum().backward()
        adapted.zero_grad()

    def measured(name: str) -> Callable[[], Any]:
        return lambda: measure_importance(model, [batch], estimator=name)

    return [
        ("scored", scored, counted.scored(typical.shape), typical),
        ("trained", trained, counted.trained(typical.shape), typical),
        *((name, measured(name), counted.measured(typical.shape, name), typical) for name in ESTIMATORS),
    ]


def timed(run: Callable[[], Any], repetitions: int) -> float:
    _, now = clock()
    run()
    found = []
    for _ in range(repetitions):
        started = now()
        run()
        found.append(now() - started)
    return sorted(found)[repetitions // 2]


def fit(terms: np.ndarray, seconds: np.ndarray) -> np.ndarray:
    """a, b, c ≥ 0 that minimise Σ ((terms · (a, b, c)) / seconds − 1)²; terms (passes, 3)."""
    found, _ = nnls(terms / seconds[:, None], np.ones(len(seconds)))
    return found


def main() -> None:
    made = parser(__doc__, "cost_model_fit", repetitions=3)
    made.add_argument("--shared", type=Path, default=Path("../shared"))
    options = made.parse_args()
    on_the_cpu()
    torch.set_num_threads(options.threads)
    if clock()[0] != "wall seconds":
        device_speed.time = SimpleNamespace(perf_counter=time.process_time)  # type: ignore[attr-defined]
    rows: list[dict[str, Any]] = []
    for shape, sizes in MODELS.items():
        for count in ROWS:
            for name, run, work, batch in passes(options, shape, count):
                speed = device_speed.measure_speed(
                    torch.device("cpu"), torch.float32, batch.shape.tokens, sizes["hidden_size"]
                )
                rows.append({
                    "model": shape,
                    "rows": count,
                    "pass": name,
                    "seconds": timed(run, options.repetitions),
                    "products": work.flops / speed.flops,
                    "traffic": work.moved / speed.bytes,
                    "launches": work.kernels * speed.kernel,
                })  # fmt: skip
    terms = np.array([[row[kind] for kind in ("products", "traffic", "launches")] for row in rows])
    seconds = np.array([row["seconds"] for row in rows])
    factors = fit(terms, seconds)
    fitted = terms @ factors / seconds
    for row, share in zip(rows, fitted, strict=True):
        row["fitted ÷ measured"] = float(share)
    shares = [float(1 / factor) if factor else None for factor in factors]
    write(
        options,
        COLUMNS,
        rows,
        {"models": MODELS},
        shares=shares,
        root_mean_square_error=float(np.sqrt(((fitted - 1) ** 2).mean())),
        within_20_percent=f"{int((abs(fitted - 1) < 0.2).sum())} of {len(rows)}",
    )
    print(f"shares of products, traffic, launches: {shares}")


if __name__ == "__main__":
    main()
