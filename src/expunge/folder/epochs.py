"""The files that a training leaves: of a run, and of a trial that looks for its learning rate."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from ..evaluation.checked import checked
from ..evaluation.log import EvaluationLog
from ..intact import RESTORE, read_intact
from ..storage import read_json_lines, recorded, write_json, write_json_lines
from .state import EpochRow, Record, StepRow

Row = TypeVar("Row", bound=Record)


class EpochsFolder:
    """Epochs, steps, checkpoints and evaluation logs. What is read is held in memory; what is written is on the disk
    at once.

    Raises `InputError` where a file is read that is damaged.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.metrics_file = self.path / "metrics.jsonl"
        self.steps_file = self.path / "steps.jsonl"
        self.checkpoints = self.path / "checkpoints"

    def evaluation(self, name: str) -> Path:
        """The evaluation log `epoch-K`; of a run also `before`, `after`, `reference` or `request-K`."""
        return self.path / "eval" / f"{name}.json"

    @cached_property
    def epochs(self) -> list[EpochRow]:
        """The lines of `metrics.jsonl`."""
        return _rows(EpochRow, self.metrics_file)

    @cached_property
    def steps(self) -> list[StepRow]:
        """The lines of `steps.jsonl`."""
        return _rows(StepRow, self.steps_file)

    def write_epoch(self, row: dict[str, Any], steps: Sequence[dict[str, Any]]) -> None:
        """Record an epoch, in place of what an earlier attempt said of it and of later ones, and all steps so far."""
        lines = zip(_lines(self.metrics_file), self.epochs, strict=True)
        rows = [*(line for line, old in lines if old.epoch < row["epoch"]), row]
        epochs, taken = (
            _checked_rows(EpochRow, rows, self.metrics_file),
            _checked_rows(StepRow, steps, self.steps_file),
        )
        write_json_lines(self.steps_file, steps)
        write_json_lines(self.metrics_file, rows)
        self.epochs, self.steps = epochs, taken

    def write_log(self, name: str, log: EvaluationLog) -> None:
        """Write `eval/{name}.json`, which quotes samples, for its owner alone."""
        file = self.evaluation(name)
        with recorded(file):
            write_json(file, log.to_json(), private=True)


def _lines(file: Path) -> list[dict[str, Any]]:
    return read_intact(read_json_lines, file)


def _rows(kind: type[Row], file: Path) -> list[Row]:
    return _checked_rows(kind, _lines(file), file)


def _checked_rows(kind: type[Row], rows: Iterable[Any], file: Path) -> list[Row]:
    return [checked(kind, row, f"{file}, line {number}", RESTORE) for number, row in enumerate(rows, start=1)]
