"""That no adapter reaches the experts of a sparse model is said before and while it runs, and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import MixtralConfig, MixtralForCausalLM

import expunge
import tokenizer_families
from expunge.commands.validate import plan


def test_by_validate_by_run_and_in_run_json(
    recipe: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = tokenizer_families.gpt2_like()
    model = MixtralForCausalLM(
        MixtralConfig(
            hidden_size=24, intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=2,
            num_local_experts=4, vocab_size=len(tokenizer), bos_token_id=0, eos_token_id=0, pad_token_id=0,
        )
    )  # fmt: skip
    model.save_pretrained(tmp_path / "sparse")
    tokenizer.save_pretrained(tmp_path / "sparse")
    recipe["model"] = {"path": str(tmp_path / "sparse")}
    recipe["adapter"] = {**recipe["adapter"], "initialization": "default", "targets": "q_v_ffn"}
    recipe["training"] = {**recipe["training"], "epochs": 1}
    recipe["evaluation"] = {"generate": "never"}
    experts = 2 * 4 * (2 * 40 * 24 + 24 * 40)  # of both blocks: gate and up, down
    share = experts / sum(parameter.numel() for parameter in model.parameters())
    line = f"left out: mlp.experts.down_proj, mlp.experts.gate_up_proj ({share:.1%} of all parameters): "
    (said,) = [said for said in plan(recipe)["lines"] if said.startswith("left out")]
    assert said.startswith(line)
    capsys.readouterr()
    run = expunge.unlearn(recipe)
    assert line[1:] in capsys.readouterr().err
    assert run.state["adapter"]["unreached"] == {
        "kinds": ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"], "parameters": experts, "share": share,
    }  # fmt: skip
    assert json.dumps(run.state)
