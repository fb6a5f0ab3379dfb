"""λ rises only while the last measured epoch had lost utility, also after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

import expunge
import expunge.run.epochs
from expunge.storage import read_json_lines


class Killed(Exception):
    pass


class KilledAt(TrainerCallback):
    """As a kill in the middle of an epoch."""

    def __init__(self, step: int):
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.step:
            raise Killed


def weights(run: Path) -> list[float]:
    return [row["retain_weight"] for row in read_json_lines(run / "steps.jsonl")]


@pytest.mark.parametrize(
    ("original", "course"),
    [
        (0.0, [1.0, 2.0, 1.0, 1.0, 1.0, 1.0]),  # nothing is lost, as the first epoch shows
        (1.0, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),  # no model keeps that
        (float("nan"), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]),  # nothing says so
    ],
)
def test_the_weight_is_the_first_again_while_nothing_is_lost(
    original: float, course: list[float], recipe: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(expunge.run.epochs, "original_utility", lambda job: original)
    recipe = {
        **recipe,
        "adapter": {"initialization": "default", "rank": 2, "alpha": 16},
        "training": {**recipe["training"], "epochs": 3},
        "objective": {"retain_weight": [1, 6]},
        "evaluation": {"generate": "never"},
        "stopping": {"utility_floor": 0.0},
    }
    found = expunge.unlearn(recipe, output=tmp_path / "whole")
    assert weights(found.path) == pytest.approx(course)
    with pytest.raises(Killed):
        expunge.unlearn(recipe, output=tmp_path / "killed", callbacks=[KilledAt(3)])
    resumed = expunge.unlearn(recipe, output=tmp_path / "killed", resume=True)
    assert (resumed.path / "steps.jsonl").read_bytes() == (found.path / "steps.jsonl").read_bytes()
