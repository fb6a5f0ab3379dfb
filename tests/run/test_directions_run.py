"""A run whose adapter starts on the input directions: measured once, kept, exported without an anchor."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

import expunge
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
