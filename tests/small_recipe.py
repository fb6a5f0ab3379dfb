"""A recipe for the small model and data of `conftest`: two epochs of two steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def small_recipe(model_folder: Path, data_folder: Path) -> dict[str, Any]:
    return {
        "model": {"path": str(model_folder)},
        "data": {
            "format": "qa",
            "forget": str(data_folder / "forget.jsonl"),
            "retain": str(data_folder / "retain.jsonl"),
        },
        "adapter": {"initialization": "factored", "rank": 2, "alpha": 4},
        "training": {"epochs": 2, "batch_size": 4, "micro_batch_size": 2, "learning_rate": 1e-2, "warmup": 0},
        "evaluation": {"max_new_tokens": 5},
        "attacks": {"budget": "none"},
    }
