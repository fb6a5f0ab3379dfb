"""Questions, task files and groups as lm-eval reads them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import yaml

CHOICES = ["w10", "w11", "w12", "w13"]


def questions(number: int, seed: int) -> list[dict[str, Any]]:
    """Questions of different lengths with four choices, of one to three words."""
    draw = random.Random(seed)

    def words(least: int, most: int) -> str:
        return " ".join(f"w{draw.randrange(20, 64)}" for _ in range(draw.randint(least, most)))

    return [
        {"question": words(2, 12), "choices": [words(1, 3) for _ in range(4)], "answer": draw.randrange(4)}
        for _ in range(number)
    ]


def write_task(folder: Path, name: str, rows: list[dict[str, Any]], **settings: Any) -> None:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    task = {
        "task": name,
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {"test": str(data)}},
        "test_split": "test",
        "output_type": "multiple_choice",
        "doc_to_text": "Question: {{question}} Answer:",
        "doc_to_choice": CHOICES,
        "doc_to_target": "answer",
        "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
        "metadata": {"version": 1.5},
        **settings,
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(task))


def write_group(folder: Path, name: str, tasks: list[str], by_size: bool = True) -> None:
    rule = {"metric": "acc", "aggregation": "mean", "weight_by_size": by_size}
    group = {"group": name, "task": tasks, "aggregate_metric_list": [rule], "metadata": {"version": 3}}
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(group))
