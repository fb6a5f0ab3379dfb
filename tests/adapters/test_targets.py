"""Which layers a recipe's `targets` and `layers` mean, on the families of models that users have."""

from __future__ import annotations

import pytest
import torch

from expunge import attach_adapter, measure_importance
from expunge.errors import InputError
from expunge.models.linear import block_index, layer_kind, linear_layers, target_layers
from tiny_models import FAMILIES, SHAPES, random_batch, random_model, split_batch

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
