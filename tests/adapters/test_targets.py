"""Which layers a recipe's `targets` and `layers` mean, on the families of models that users have."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from expunge import attach_adapter, measure_importance
from expunge.adapters.anchor import UNLEARN, adapted_layers
from expunge.errors import InputError
from expunge.importance.capture import check_layers
from expunge.models.linear import (
    block_index,
    layer_kind,
    linear_layers,
    matrix_shape,
    target_layers,
    unreached,
)
from expunge.models.probe import input_shapes
from tiny_models import FAMILIES, SHAPES, UNUSUAL, random_batch, random_model, split_batch

KINDS = {
    "llama": {
        "q_v": {"self_attn.q_proj", "self_attn.v_proj"},
        "qkvo": {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"},
        "ffn": {"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"},
    },
    "gpt2": {
        "q_v": {"attn.c_attn"},
        "qkvo": {"attn.c_attn", "attn.c_proj"},
        "ffn": {"mlp.c_fc", "mlp.c_proj"},
    },
    "gpt_neox": {
        "q_v": {"attention.query_key_value"},
        "qkvo": {"attention.query_key_value", "attention.dense"},
        "ffn": {"mlp.dense_h_to_4h", "mlp.dense_4h_to_h"},
    },
    "phi": {
        "q_v": {"self_attn.q_proj", "self_attn.v_proj"},
        "qkvo": {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.dense"},
        "ffn": {"mlp.fc1", "mlp.fc2"},
    },
    "phi3": {
        "q_v": {"self_attn.qkv_proj"},
        "qkvo": {"self_attn.qkv_proj", "self_attn.o_proj"},
        "ffn": {"mlp.gate_up_proj", "mlp.down_proj"},
    },
    "gpt_neo": {
        "q_v": {"attn.attention.q_proj", "attn.attention.v_proj"},
        "qkvo": {f"attn.attention.{kind}_proj" for kind in ("q", "k", "v", "out")},
        "ffn": {"mlp.c_fc", "mlp.c_proj"},
    },
}
KINDS |= dict.fromkeys(("mistral", "qwen3", "gemma3"), KINDS["llama"])
KINDS |= {
    shape: {
        "q_v": {"self_attention.query_key_value"},
        "qkvo": {"self_attention.query_key_value", "self_attention.dense"},
        "ffn": {"mlp.dense_h_to_4h", "mlp.dense_4h_to_h"},
    }
    for shape in ("falcon", "bloom")
}


@pytest.mark.parametrize("shape", KINDS)
def test_named_choices(shape: str) -> None:
    model = random_model(shape)
    for name, kinds in KINDS[shape].items():
        assert {layer_kind(layer) for layer in target_layers(model, name)} == kinds, name
    both = KINDS[shape]["q_v"] | KINDS[shape]["ffn"]
    assert {layer_kind(layer) for layer in target_layers(model, "q_v_ffn")} == both
    everything = {layer_kind(layer) for layer in target_layers(model, "all-linear")}
    assert everything == KINDS[shape]["qkvo"] | KINDS[shape]["ffn"]
    assert set(target_layers(model)) == set(linear_layers(model))


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - set(SHAPES)))
def test_further_families_start_as_the_original(family: str) -> None:
    """Importance is found in every layer, and the anchored adapter changes nothing at step 0."""
    model, batch = random_model(family), random_batch(6)
    rows = measure_importance(model, split_batch(batch, 3), estimator="factored")
    assert rows.keys() == linear_layers(model).keys()
    assert all(row.sum() > 0 for row in rows.values())
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        wanted = model(**inputs).logits
        adapted = attach_adapter(model, rows, rank=2, alpha=4)
        assert torch.equal(adapted(**inputs).logits, wanted)


#: What is left out of `all-linear`, and whether a model without content shows it as well.
LEFT_OUT = {
    "opt": (set(), True),
    "deepseek_v3": ({"mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "mlp.shared_experts.gate_proj",
                     "mlp.shared_experts.up_proj", "mlp.shared_experts.down_proj"}, False),
    "mamba": ({"mixer.dt_proj", "mixer.out_proj"}, True),
    "qwen2_moe": ({"mlp.shared_expert_gate"}, False),
    "qwen3_next": ({"mlp.shared_expert_gate", "mlp.shared_expert.gate_proj", "mlp.shared_expert.up_proj",
                    "mlp.shared_expert.down_proj"}, False),
    "mixtral": (set(), False),
}  # fmt: skip


def left_out(model: Any) -> dict[str, str]:
    """{name: why} of the linear layers among what no adapter reaches."""
    linear = linear_layers(model)
    weights = {name.removesuffix(".weight"): weight for name, weight in unreached(model).items()}
    assert all(
        weight.parameters == linear[name].weight.numel() for name, weight in weights.items() if name in linear
    )
    return {name: weight.reason for name, weight in weights.items() if name in linear}


@pytest.mark.parametrize("family", UNUSUAL)
def test_unusual_layers_are_adapted_or_left_out_and_named(family: str) -> None:
    """Whatever shape a layer sees its input in, it has an importance, and the adapter changes nothing at step 0."""
    model, batch = random_model(family), random_batch(6)
    without = left_out(model)
    targets = target_layers(model)
    assert targets.keys() | without.keys() == linear_layers(model).keys()
    if family == "gemma3_multimodal":
        assert {name.split(".")[1] for name in without} == {"vision_tower"}
        assert {name.split(".")[1] for name in targets} == {"language_model"}
        assert set(without.values()) == {"no pass over text calls it"}
        shown = True
    else:
        kinds, shown = LEFT_OUT[family]
        assert {layer_kind(name) for name in without} == kinds
    with torch.device("meta"):
        empty = UNUSUAL[family]()
    assert (input_shapes(empty) is not None) == shown
    assert not shown or left_out(empty) == without
    check_layers(model, targets)
    one, all_together = (
        measure_importance(model, split_batch(batch, size), estimator="factored") for size in (1, 6)
    )
    assert one.keys() == targets.keys()
    for name, row in one.items():
        assert row.sum() > 0
        torch.testing.assert_close(row, all_together[name], rtol=1e-3, atol=1e-6)
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    with torch.no_grad():
        wanted = model(**inputs).logits
        adapted = attach_adapter(model, one, rank=2, alpha=4)
        # Mamba's own sums come out 3e-6 apart once a layer is wrapped, with the adapter disabled as well.
        rounding = 1e-5 if family == "mamba" else 0.0
        torch.testing.assert_close(adapted(**inputs).logits, wanted, rtol=rounding, atol=rounding)


def test_a_layer_that_mixes_samples_is_refused_before_anything_is_measured() -> None:
    model = random_model()
    mlp = model.model.layers[1].mlp
    forward = mlp.forward
    mlp.forward = lambda x: (
        forward(x.flatten(0, 1)[1:].clone()).new_zeros(x.shape) + x
    )  # a routed part of the tokens
    with pytest.raises(InputError, match=r"layers\.1\.mlp\.up_proj.*cannot be told apart by sample"):
        check_layers(model, target_layers(model))


def test_only_what_a_pass_calls_can_be_named() -> None:
    model = random_model("gemma3_multimodal")
    with pytest.raises(InputError, match=r"none of the layers that .* names can be adapted"):
        target_layers(model, ["model.vision_tower.head.mlp.fc1"])


def test_explicit_names_and_a_share_of_the_blocks() -> None:
    model = random_model()
    assert set(target_layers(model, ["mlp.up_proj"])) == {f"model.layers.{n}.mlp.up_proj" for n in (0, 1)}
    assert set(target_layers(model, "q_proj", layers=0.5)) == {"model.layers.0.self_attn.q_proj"}
    assert {block_index(name) for name in target_layers(model, layers=0.25)} == {0}
    with pytest.raises(
        InputError, match=r"matches no linear layer of this model in the first 50% of its blocks"
    ):
        target_layers(
            model, ["model.layers.1.mlp.up_proj"], layers=0.5
        )  # a share of the model's, not of those named


def test_names_that_match_nothing_and_shared_weights_are_refused() -> None:
    model = random_model()
    with pytest.raises(InputError, match="Did you mean 'up_proj'"):
        target_layers(model, ["up_prj"])
    with pytest.raises(InputError, match="Did you mean 'qkvo'"):
        target_layers(model, "qkov")
    model.model.layers[1].mlp.up_proj.weight = model.model.layers[0].mlp.up_proj.weight
    with pytest.raises(InputError, match=r"shares its weight with model\.layers\.1\.mlp\.up_proj"):
        target_layers(model)


def test_a_layer_that_is_named_and_was_measured_gets_its_adapter() -> None:
    """A gate of one row is left out of all-linear alone."""
    model = random_model("qwen2_moe")
    (gate, *_) = [name for name in linear_layers(model) if name.endswith("shared_expert_gate")]
    width = matrix_shape(linear_layers(model)[gate])[1]
    wrapped = attach_adapter(model, directions={gate: torch.ones(2, width)}, rank=2)
    (layer,) = adapted_layers(wrapped).values()
    assert torch.equal(layer.lora_A[UNLEARN].weight, torch.ones(2, width))


def test_a_layer_that_shares_its_weight_is_refused_where_it_was_measured() -> None:
    model = random_model("llama")
    first, second = (block.self_attn.q_proj for block in model.model.layers[:2])
    second.weight = first.weight
    width = matrix_shape(first)[1]
    with pytest.raises(InputError, match=r"shares its weight with model\.layers\.1\."):
        attach_adapter(model, directions={"model.layers.0.self_attn.q_proj": torch.ones(2, width)}, rank=2)
    attach_adapter(model, directions={"model.layers.0.self_attn.k_proj": torch.ones(2, width)}, rank=2)
