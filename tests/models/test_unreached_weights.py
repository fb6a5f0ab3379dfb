"""Weights that the targets name and no adapter reaches are found in every architecture that keeps them otherwise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from expunge.errors import InputError
from expunge.models.linear import layer_kind, target_layers, unreached
from tiny_models import FAMILIES

SIZES = {"vocab_size": 97, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2,
         "num_attention_heads": 2, "num_key_value_heads": 2}  # fmt: skip
SPARSE: dict[str, dict[str, Any]] = {
    "mixtral": {"num_local_experts": 4},
    "qwen2_moe": {"num_experts": 4, "moe_intermediate_size": 8, "shared_expert_intermediate_size": 8},
    "gpt_oss": {"num_local_experts": 4, "head_dim": 8},
    "granitemoe": {"num_local_experts": 4},
}
EXPERTS = {"experts.gate_up_proj", "experts.down_proj"}


def empty(kind: str, **settings: Any) -> Any:
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES, **settings))


def kinds(model: Any, targets: Any, layers: float = 1.0) -> set[str]:
    weights = unreached(model, targets, layers)
    return {
        layer_kind(name).partition(".")[2]
        for name, weight in weights.items()
        if weight.reason == "no linear layer"
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_dense_model_has_none(family: str) -> None:
    model = FAMILIES[family]()
    for targets in ("all-linear", "q_v", "qkvo", "ffn", "q_v_ffn"):
        assert unreached(model, targets) == {}


@pytest.mark.parametrize("family", SPARSE)
def test_the_experts_and_the_router_of_a_sparse_model(family: str) -> None:
    model = empty(family, **SPARSE[family])
    router = {"router.weight"} if family in ("gpt_oss", "granitemoe") else {"gate.weight"}
    assert kinds(model, "all-linear") == EXPERTS | router
    assert kinds(model, "q_v_ffn") == kinds(model, "ffn") == EXPERTS
    assert kinds(model, "q_v") == kinds(model, "qkvo") == kinds(model, ["q_proj"]) == set()
    assert kinds(model, ["q_proj", "down_proj"]) == {"experts.down_proj"}


def test_blocks_that_are_not_meant_are_not_left_out() -> None:
    model = empty("mixtral", **SPARSE["mixtral"])
    assert {name.split(".")[2] for name in unreached(model, "all-linear", 0.5)} == {"0"}


def test_a_gate_of_one_row_and_the_experts_are_one_report() -> None:
    model = empty("qwen2_moe", **SPARSE["qwen2_moe"])
    block = {
        name: tuple(weight)
        for name, weight in unreached(model, "all-linear").items()
        if name.startswith("model.layers.1.")
    }
    assert block == {
        "model.layers.1.mlp.shared_expert_gate.weight": (16, "a gate of one row"),
        "model.layers.1.mlp.gate.weight": (4 * 16, "no linear layer"),
        "model.layers.1.mlp.experts.gate_up_proj": (4 * 2 * 8 * 16, "no linear layer"),
        "model.layers.1.mlp.experts.down_proj": (4 * 16 * 8, "no linear layer"),
    }


def test_feed_forward_layers_that_are_all_experts_are_named() -> None:
    with pytest.raises(
        InputError, match=r"but mlp\.experts\.down_proj and mlp\.experts\.gate_up_proj, which no"
    ):
        target_layers(empty("mixtral", **SPARSE["mixtral"]), "ffn")


def test_mamba_has_a_convolution_and_a_table_of_decays_that_are_no_linear_layers() -> None:
    assert kinds(empty("mamba"), "all-linear") == set()
