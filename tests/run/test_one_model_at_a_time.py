"""The reference is measured while the original is not in memory."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from expunge.folder.run import RunFolder
from expunge.recipe import load_recipe
from expunge.run import job, phases
from expunge.run.baseline import measure_baseline
from small_recipe import small_recipe


def baseline(recipe: dict[str, Any], folder: Path) -> RunFolder:
    return measure_baseline(load_recipe(recipe), folder)


def test_no_other_model_is_alive_when_one_is_loaded(
    model_folder: Path,
    random_model_folder: Path,
    data_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded: list[weakref.ref[nn.Module]] = []

    def alone(model: Any, *key: str) -> Any:
        assert not [each for each in loaded if each() is not None]
        weights = load(model, *key)
        loaded.append(weakref.ref(weights))
        return weights

    load = job.load_model
    monkeypatch.setattr(job, "load_model", alone)
    monkeypatch.setattr(phases, "load_model", alone)
    recipe = small_recipe(model_folder, data_folder)
    without = baseline(recipe, tmp_path / "without")
    loaded.clear()
    recipe["evaluation"] = {**recipe["evaluation"], "reference": str(random_model_folder)}
    found = baseline(recipe, tmp_path / "with")
    assert len(loaded) == 3  # the original, the reference, the original again
    names = ("forget_probability", "retain_probability")
    for name in names:
        assert found.metrics("before")[name] == without.metrics("before")[name]
        assert found.metrics("reference")[name].value < found.metrics("before")[name].value
    flops = [run.state.phases["baseline"].flops or 0.0 for run in (without, found)]
    assert flops[1] == pytest.approx(2 * flops[0], rel=0.2)  # what is read anew is counted again
