"""A run whose adapter starts on the input directions: measured once, kept, exported without an anchor."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

import expunge
from expunge.folder.run import RunFolder
from expunge.models.loading import empty_model
from expunge.run.checks import check_adapter
from expunge.storage import read_json


def test_a_run_from_the_input_directions(recipe: dict, tmp_path: Path) -> None:
    recipe["adapter"] = {"initialization": "directions", "rank": 2, "alpha": 16}
    run = expunge.unlearn(recipe, ["evaluation.generate=never"], output=tmp_path / "run")
    measured = load_file(run.path / "importance.safetensors")
    initial = load_file(run.path / "initial_adapter" / "adapter_model.safetensors")
    assert run.state["phases"].keys() >= {"baseline", "importance", "adapter", "training", "export"}
    assert {name for name in initial if "anchor" in name} == set()
    for name, A in measured.items():
        (kept,) = [value for key, value in initial.items() if f".{name}.lora_A" in key]
        assert torch.equal(kept, A)
        torch.testing.assert_close(A.norm(dim=1), torch.full((2,), 3**-0.5))
    assert read_json(run.adapter / "adapter_config.json")["r"] == 2
    probabilities = [run.metrics[stage]["forget_probability"]["value"] for stage in ("before", "after")]
    assert probabilities[1] != probabilities[0]


def test_the_default_adapter_suits_a_model_that_is_narrower_than_its_rank(
    recipe: dict, tmp_path: Path
) -> None:
    """24 wide, and 40 in the feed-forward part: every direction of the one, 32 of the other's.

    The epochs are left open as well, two steps each: 20, and every one is measured, as that is quick.
    """
    del recipe["adapter"], recipe["training"]["epochs"]
    whole = ["evaluation.generate=never", "stopping.utility_floor=0"]
    run = expunge.unlearn(recipe, whole, output=tmp_path / "run")
    assert [row.epoch for row in RunFolder(run.path).epochs] == list(range(1, 21))
    written = RunFolder(run.path).recipe
    assert (written.adapter.initialization, written.adapter.rank, written.adapter.alpha) == (
        "directions",
        32,
        64,
    )
    assert read_json(run.adapter / "adapter_config.json")["r"] == 32
    for name, A in load_file(run.path / "importance.safetensors").items():
        directions = min(A.shape[1], 32)
        assert A.shape == (32, 40 if "down_proj" in name else 24)
        assert A[:directions].any(1).all()
        assert not A[directions:].any()
    # What the run wrote down, where every key is given, is a recipe of the same run.
    assert len(check_adapter(empty_model(written.model), written)) == 14
    probabilities = [run.metrics[stage]["forget_probability"]["value"] for stage in ("before", "after")]
    assert probabilities[1] < probabilities[0]
