"""What a run folder holds, read once and left as it is.

Only `run.json` must be there. Everything else that is absent is empty here, and what depends on it is left
out of the report.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors.numpy import load_file

from ..errors import InputError, Problem
from ..evaluation.metric import Metric
from ..intact import broken, read_intact
from ..storage import read_json, read_json_lines

SCHEMA = "expunge.run/1"
STAGES = ("before", "after", "reference")


@dataclass(frozen=True)
class RunFolder:
    """The files of one run.

    run:    run.json
    recipe: recipe.yaml, parsed; `recipe_text` is its text
    epochs: metrics.jsonl, one entry an epoch
    steps:  steps.jsonl, one entry an optimiser step
    logs:   evaluation logs by stage (`before`, `after`, `reference`)
    adapter_config: adapter/adapter_config.json, empty when no adapter was exported
    """

    path: Path
    run: Mapping[str, Any]
    recipe: Mapping[str, Any]
    recipe_text: str
    epochs: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    logs: Mapping[str, Mapping[str, Any]]
    adapter_config: Mapping[str, Any]

    @property
    def benchmark(self) -> str:
        """`tofu` or `memorization`; empty when nothing was evaluated."""
        return next((str(log.get("benchmark", "")) for log in self.logs.values()), "")

    @property
    def training(self) -> Mapping[str, Any]:
        return self.run.get("training") or {}

    def metrics(self, stage: str) -> dict[str, Metric]:
        """The final metrics of a stage; empty when it was not evaluated."""
        return read_metrics((self.run.get("metrics") or {}).get(stage))

    @cached_property
    def importance(self) -> dict[str, np.ndarray]:
        """Module name → d, (d_out,) fp32; empty when no importance was measured.

        Raises `InputError` where the file is damaged.
        """
        path = self.path / "importance.safetensors"
        return read_intact(load_file, path) if path.exists() else {}


def read_metrics(rows: Mapping[str, Any] | None) -> dict[str, Metric]:
    """JSON → `Metric`s; those without a value are left out."""
    return {
        name: Metric.from_json(row)
        for name, row in (rows or {}).items()
        if row is not None and row.get("value") is not None
    }


def read_run_folder(path: Path) -> RunFolder:
    """Raises `InputError` when `path` is no run folder, or a file in it cannot be read."""
    problems: list[Problem] = []

    def read(name: str, reader: Callable[[Path], Any], kind: type) -> Any:
        """What the file holds, which is a `kind`; an empty one where there is no file."""
        file = path / name
        if not file.exists():
            return kind()
        try:
            content = read_intact(reader, file)
            if not isinstance(content, kind):
                raise broken(file, f"it holds a {type(content).__name__} in place of a {kind.__name__}")
        except InputError as error:
            problems.extend(error.problems)
            return kind()
        return content

    folder = RunFolder(
        path=path,
        run=read("run.json", read_json, dict),
        recipe=read("recipe.yaml", lambda file: yaml.safe_load(_text(file)), dict),
        recipe_text=read("recipe.yaml", _text, str),
        epochs=read("metrics.jsonl", read_json_lines, list),
        steps=read("steps.jsonl", read_json_lines, list),
        logs={stage: log for stage in STAGES if (log := read(f"eval/{stage}.json", read_json, dict))},
        adapter_config=read("adapter/adapter_config.json", read_json, dict),
    )
    schema = folder.run.get("schema")
    if not problems and schema != SCHEMA:
        there = (path / "run.json").exists()
        found = f"its schema is {schema!r}, not {SCHEMA!r}" if there else "there is no run.json"
        problems.append(
            Problem(
                str(path / "run.json"),
                f"this is no run folder: {found}.",
                "Name the folder that `expunge run` wrote (runs/NAME).",
            )
        )
    if problems:
        raise InputError(problems)
    return folder


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8")
