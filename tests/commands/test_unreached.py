"""That no adapter reaches the experts of a sparse model is said before and while it runs, and kept."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from transformers import MixtralConfig, MixtralForCausalLM

import expunge
import tokenizer_families
from expunge.cost.plan import plan
from expunge.folder.state import UnreachedFacts, UnreachedKind
from expunge.models.linear import layer_kind, linear_layers, target_layers
from expunge.run.checks import unreached_facts
from tiny_models import UNUSUAL


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
    every = sum(parameter.numel() for parameter in model.parameters())
    share = experts / every
    shown = f"{100 * share:.3g}%"
    line = (
        f"mlp.experts.down_proj, mlp.experts.gate_up_proj (no linear layer, {shown}): no adapter reaches {shown} of "
        "all parameters, which stay as they are"
    )
    facts = {
        "kinds": [
            {"kind": f"mlp.experts.{name}", "reason": "no linear layer", "parameters": part,
             "share": part / every}
            for name, part in (("down_proj", experts // 3), ("gate_up_proj", 2 * experts // 3))
        ],
        "parameters": experts,
        "share": share,
    }  # fmt: skip
    planned = plan(recipe)
    assert f"left out: {line}" in planned["lines"]
    assert planned["unreached"] == facts
    capsys.readouterr()
    run = expunge.unlearn(recipe)
    assert f"Left out: {line}." in capsys.readouterr().err
    assert run.state["adapter"]["unreached"] == facts
    assert json.dumps(run.state)
    for page in (run.report, run.path / "README.md"):
        assert line in page.read_text(encoding="utf-8")


def test_a_vision_tower_is_told_from_the_layers_that_are_adapted() -> None:
    """Its layers have the names of those of the language model."""
    model = UNUSUAL["gemma3_multimodal"]()
    recipe: Any = SimpleNamespace(adapter=SimpleNamespace(targets="qkvo", layers=1.0))
    adapted = target_layers(model, "qkvo")
    facts = unreached_facts(model, recipe, adapted)
    towers = {
        name: module.weight.numel()
        for name, module in linear_layers(model).items()
        if ".vision_tower." in name and name.endswith(("q_proj", "k_proj", "v_proj", "out_proj"))
    }
    assert facts.parameters == sum(towers.values()) > 0
    assert {kind.kind for kind in facts.kinds} == {
        re.sub(r"\d+", "*", name) if name.endswith(("q_proj", "k_proj", "v_proj")) else layer_kind(name)
        for name in towers
    }
    assert {kind.reason for kind in facts.kinds} == {"no pass over text calls it"}


def test_the_line_goes_by_reason() -> None:
    kinds = [
        ("a.gate", "a gate of one row", 2),
        ("experts", "no linear layer", 400),
        ("router", "no linear layer", 50),
    ]
    facts = UnreachedFacts(
        kinds=[
            UnreachedKind(kind=kind, reason=reason, parameters=n, share=n / 1000) for kind, reason, n in kinds
        ],
        parameters=452,
        share=0.452,
    )
    assert facts.line == (
        "a.gate (a gate of one row, 0.2%), experts, router (no linear layer, 45%): no adapter reaches 45.2% of all "
        "parameters, which stay as they are"
    )
    assert UnreachedFacts(kinds=[], parameters=0, share=0.0).line == ""
