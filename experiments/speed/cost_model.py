"""The cost model against runs: predicted and measured seconds and peak memory of every phase.

    python experiments/speed/cost_model.py

Each recipe below is predicted as `expunge validate` does it and then run, each in a process of its own. Nothing is
fitted here. On one thread both sides count CPU seconds of the process,
so that other jobs on the machine cannot lengthen either by waiting; on more threads wall seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from side_by_side import clock, parser, write
from transformers import AutoTokenizer
from workload import SHAPES, random_llama

COLUMNS = ["recipe", "phase", "predicted s", "measured s", "time ÷ measured", "predicted memory", "measured memory",
           "memory ÷ measured"]  # fmt: skip

#: Settings that would otherwise follow from the samples, or be searched for.
FIXED = {"batch_size": 32, "learning_rate": 1e-4, "warmup": "1 epoch"}


def recipes(shared: Path, folder: Path) -> dict[str, dict[str, Any]]:
    """Name → recipe: models from 0.7 to 27 M parameters, two architectures, several losses and estimators."""
    tofu = {"format": "tofu", "path": str(shared / "data" / "tofu"), "forget": "forget01"}
    tiny = {"path": str(shared / "models" / "tofu-tiny" / "full")}
    few = {"benchmark": "memorization", "generate": "never", "samples": 40}
    return {
        "tofu-tiny, factored, ihl, TOFU's evaluation": {
            "model": tiny,
            "data": tofu,
            "adapter": {"initialization": "factored", "rank": 8},
            "importance": {"batch_size": 16},
            "training": {**FIXED, "epochs": 2, "batch_size": 40, "micro_batch_size": 20},
            "evaluation": {"generate": "never", "samples": 20, "every": 2},
        },
        "tofu-tiny, vila, npo, generation": {
            "model": tiny,
            "data": tofu,
            "adapter": {"initialization": "vila", "rank": 16},
            "objective": {"forget": "npo"},
            "training": {**FIXED, "epochs": 1, "micro_batch_size": 8},
            "evaluation": {**few, "generate": "chosen", "max_new_tokens": 40},
        },
        "tofu-tiny, fila, q_v, gd, 100 samples": {
            "model": tiny,
            "data": {**tofu, "forget": "forget05"},
            "adapter": {"initialization": "fila", "rank": 8, "targets": "q_v"},
            "importance": {"samples": 100},
            "objective": "gd",
            "training": {**FIXED, "epochs": 1, "micro_batch_size": 32},
            "evaluation": few,
        },
        "tinystories, pissa, ihl": {
            "model": {"path": str(shared / "models" / "tinystories-656k")},
            "data": tofu,
            "adapter": {"initialization": "pissa", "rank": 8},
            "training": {**FIXED, "epochs": 2, "micro_batch_size": 8},
            "evaluation": few,
        },
        "27 M, narrow, factored, ihl": {
            "model": {"path": str(_saved(shared, folder, "narrow"))},
            "data": tofu,
            "adapter": {"initialization": "factored", "rank": 8},
            "training": {**FIXED, "epochs": 1, "micro_batch_size": 8},
            "evaluation": few,
        },
        "26 M, wide, vila, kl": {
            "model": {"path": str(_saved(shared, folder, "wide"))},
            "data": tofu,
            "adapter": {"initialization": "vila", "rank": 8},
            "objective": "kl",
            "training": {**FIXED, "epochs": 1, "micro_batch_size": 4},
            "evaluation": few,
        },
    }


def _saved(shared: Path, folder: Path, shape: str) -> Path:
    """A random model with tofu-tiny's tokenizer, in a folder."""
    place = folder / shape
    if not place.exists():
        random_llama(SHAPES[shape]).save_pretrained(place)
        AutoTokenizer.from_pretrained(shared / "models" / "tofu-tiny" / "full").save_pretrained(place)
    return place


def predict(recipe: dict[str, Any]) -> dict[str, dict[str, float]]:
    """{phase: its cost}."""
    from expunge.cost import device_speed
    from expunge.cost.model import CostModel
    from expunge.models.loading import empty_model
    from expunge.recipe import load_recipe
    from expunge.run.inputs import Inputs

    _count_cpu_seconds(device_speed)
    inputs = Inputs(load_recipe(recipe))
    return {
        name: asdict(cost)
        for name, cost in CostModel(inputs, empty_model(inputs.method.source)).phases().items()
    }


def measure(recipe: dict[str, Any], folder: Path) -> dict[str, dict[str, float]]:
    """{phase: what `run.json` says of it}."""
    from expunge.run import meter as cost
    from expunge.run.unlearn import unlearn

    _count_cpu_seconds(cost)
    found: dict[str, dict[str, float]] = unlearn(recipe, output=folder).state["phases"]
    return found


def _count_cpu_seconds(module: Any) -> None:
    if clock()[0] != "wall seconds":
        module.time = SimpleNamespace(perf_counter=time.process_time)


def compared(
    predicted: dict[str, dict[str, float]], measured: dict[str, dict[str, float]]
) -> list[dict[str, Any]]:
    """A row a phase."""
    return [
        {
            "phase": name,
            "predicted s": cost["seconds"],
            "measured s": measured[name]["seconds"],
            "time ÷ measured": cost["seconds"] / measured[name]["seconds"],
            "predicted memory": cost["peak_memory_bytes"],
            "measured memory": measured[name]["peak_memory_bytes"],
            "memory ÷ measured": cost["peak_memory_bytes"] / measured[name]["peak_memory_bytes"],
        }
        for name, cost in predicted.items()
    ]


def main() -> None:
    made = parser(__doc__, "cost_model")
    made.add_argument("--shared", type=Path, default=Path("../shared"))
    made.add_argument("--only", help="one recipe, by its name")
    made.add_argument("--part", choices=["predict", "measure"], help=argparse.SUPPRESS)
    made.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = made.parse_args()
    torch.set_num_threads(options.threads)
    if options.part:
        chosen = recipes(options.shared.resolve(), options.folder)[options.only]
        with tempfile.TemporaryDirectory() as name:
            print(
                json.dumps(
                    predict(chosen) if options.part == "predict" else measure(chosen, Path(name) / "run")
                )
            )
        return
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as name:
        for recipe in recipes(options.shared.resolve(), Path(name)):
            if options.only in (None, recipe):
                parts = [
                    _in_a_process_of_its_own(part, recipe, name, options) for part in ("predict", "measure")
                ]
                rows += [{"recipe": recipe, **row} for row in compared(*parts)]
                print(f"  {recipe} done", file=sys.stderr)
    within = sum(abs(row["time ÷ measured"] - 1) <= 0.2 for row in rows)
    facts = {"recipes": len({row["recipe"] for row in rows})}
    write(options, COLUMNS, rows, facts, within_20_percent=f"{within} of {len(rows)}")


def _in_a_process_of_its_own(part: str, recipe: str, folder: str, options: argparse.Namespace) -> Any:
    """So that what a prediction leaves in memory is not measured as a run's."""
    command = [sys.executable, sys.argv[0], "--shared", str(options.shared), "--threads", str(options.threads),
               "--folder", folder, "--part", part, "--only", recipe]  # fmt: skip
    output = subprocess.run(command, capture_output=True, text=True, check=True, env=dict(os.environ)).stdout
    return json.loads(output.splitlines()[-1])


if __name__ == "__main__":
    main()
