"""What a fingerprint covers beside the weights, what it can miss, and which of version 0.1.0 it is recognised as."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, LlamaConfig, LlamaForCausalLM

import tokenizer_families
from expunge import attach_adapter, export_adapter
from expunge.adapters.export import load_adapter
from expunge.adapters.loading import load_model
from expunge.adapters.origin import FINGERPRINT_FILE
from expunge.adapters.stack import add_adapters
from expunge.errors import InputError
from expunge.models.comparison import difference
from expunge.models.fingerprint import configuration_digest, fingerprint, tokenizer_digest
from expunge.models.settings import Model
from expunge.storage import CHECKSUMS, read_json, write_json
from tiny_models import FAMILIES, random_model

#: Settings of a configuration that change what the same weights compute, and one of training.
CHANGES: dict[str, Any] = {
    "rms_norm_eps": 1e-3,
    "hidden_act": "gelu",
    "num_key_value_heads": 1,
    "attention_bias": True,
    "attention_dropout": 0.1,
    "tie_word_embeddings": True,
    "max_position_embeddings": 64,
    "rope_parameters": {"rope_theta": 5e5, "rope_type": "default"},
}


def of_version_0_1_0(model: Any) -> str:
    """The fingerprint as that version computed it, written anew: the oracle for its adapters and run folders."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        flat = parameter.detach().reshape(-1)
        chosen = flat[:: max(1, flat.numel() // 64)][:64].to(torch.bfloat16).float()
        digest.update(f"{name}{tuple(parameter.shape)}".encode() + chosen.numpy().tobytes())
    return digest.hexdigest()[:32]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_fingerprint_of_version_0_1_0_is_that_of_the_same_weights(family: str, tmp_path: Path) -> None:
    model = random_model(family)
    old, new = of_version_0_1_0(model), fingerprint(model)
    assert new.startswith(f"{old}-")
    assert difference(old, new) is None
    model.save_pretrained(tmp_path)  # what the file says and what the class has by default count alike
    for dtype in ("float32", "bfloat16", "float16"):
        assert fingerprint(load_model(Model(path=str(tmp_path), dtype=dtype))) == new
    next(model.parameters()).data.view(-1)[0] += 1
    assert difference(old, fingerprint(model)) == "its weights differ"


@pytest.mark.parametrize("setting", CHANGES)
def test_every_setting_that_changes_the_model_counts(setting: str) -> None:
    model = random_model()
    before = fingerprint(model)
    setattr(model.config, setting, CHANGES[setting])
    assert difference(before, fingerprint(model)) == (
        "its weights are the same, but its configuration or a buffer differs"
    )


def test_what_changes_nothing_does_not() -> None:
    model = random_model()
    before = fingerprint(model)
    model.config.update(
        {"use_cache": False, "pad_token_id": 5, "architectures": ["Mine"], "dtype": "float16"}
    )
    assert fingerprint(model) == before
    assert configuration_digest(model.config) == configuration_digest(LlamaConfig(**model.config.to_dict()))


def test_a_default_counts_as_left_out() -> None:
    """A later transformers knows settings that this one does not; where they have their default nothing changes."""
    config = LlamaConfig(num_attention_heads=16)
    stated = {name: value for name, value in config.to_dict().items() if name != "rms_norm_eps"}
    assert config.rms_norm_eps == LlamaConfig().rms_norm_eps
    assert configuration_digest(LlamaConfig(**stated)) == configuration_digest(config)
    assert configuration_digest(config) != configuration_digest(LlamaConfig(num_attention_heads=8))


def test_a_buffer_that_a_checkpoint_holds_counts(tmp_path: Path) -> None:
    """DeepSeek's routers choose experts by one; no parameter tells of it."""
    config = DeepseekV3Config(
        hidden_size=16, intermediate_size=16, moe_intermediate_size=8, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, vocab_size=97, n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1,
        first_k_dense_replace=1, q_lora_rank=4, kv_lora_rank=4, qk_rope_head_dim=4, qk_nope_head_dim=4, v_head_dim=4,
    )  # fmt: skip
    model = DeepseekV3ForCausalLM(config)
    name, bias = next((name, b) for name, b in model.named_buffers() if name.endswith("correction_bias"))
    bias.copy_(torch.arange(4) * 1e-6)  # which fp16 cannot hold
    model.save_pretrained(tmp_path)
    before = fingerprint(model)
    assert fingerprint(load_model(Model(path=str(tmp_path), dtype="float16"))) == before
    model.get_buffer(name).add_(1)
    assert difference(before, fingerprint(model)) == (
        "its weights are the same, but its configuration or a buffer differs"
    )


def test_a_full_one_sees_every_value_and_is_compared_with_sampled_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model()
    model.save_pretrained(tmp_path)
    sampled = fingerprint(model)
    monkeypatch.setenv("EXPUNGE_FINGERPRINT", "full")
    full = fingerprint(model)
    assert full.startswith(f"{sampled}-")
    assert fingerprint(attach_adapter(copy.deepcopy(model), rank=2)) == full
    for dtype in ("float32", "bfloat16", "float16"):
        assert fingerprint(load_model(Model(path=str(tmp_path), dtype=dtype))) == full
    weight = model.model.layers[0].mlp.up_proj.weight.data.view(-1)
    step = weight.numel() // 64
    assert step > 1
    weight[step - 1] += 1  # between the first two that are sampled
    changed = fingerprint(model)
    assert difference(sampled, changed) is None
    assert difference(full, changed) == "the values that are sampled are the same, but others differ"
    monkeypatch.setenv("EXPUNGE_FINGERPRINT", "Full")
    with pytest.raises(InputError, match="EXPUNGE_FINGERPRINT: there is no extent 'Full'"):
        fingerprint(model)


def test_an_unknown_fingerprint_is_of_no_model() -> None:
    assert difference(None, "a-b") == difference("", "a-b") == "its fingerprint is not known"


def test_an_adapter_does_not_fit_another_configuration_but_one_of_version_0_1_0_fits_its_weights(
    tmp_path: Path,
) -> None:
    base = random_model()
    adapter = export_adapter(
        attach_adapter(copy.deepcopy(base), rank=2), tmp_path / "adapter", base_name="base"
    )
    other = copy.deepcopy(base)
    other.config.rms_norm_eps = 1e-2
    said = "its weights are the same, but its configuration or a buffer differs"
    with pytest.raises(InputError, match=said):
        load_adapter(copy.deepcopy(other), adapter)
    with pytest.raises(InputError, match="it was trained on a model with fingerprint"):
        add_adapters(copy.deepcopy(other), [adapter])
    origin = read_json(adapter / FINGERPRINT_FILE)
    (adapter / CHECKSUMS).unlink()
    old = of_version_0_1_0(base)
    write_json(adapter / FINGERPRINT_FILE, {**origin, "fingerprint": old, "original": old})
    load_adapter(copy.deepcopy(base), adapter)
    add_adapters(copy.deepcopy(base), [adapter])
    with pytest.raises(InputError, match="its weights differ"):
        load_adapter(LlamaForCausalLM(base.config), adapter)


def test_a_tokenizer_is_its_rules_and_its_template() -> None:
    tokenizer, same = tokenizer_families.gpt2_like(), tokenizer_families.gpt2_like()
    for each in (tokenizer, same):
        each.pad_token = each.eos_token
    before = tokenizer_digest(tokenizer)
    tokenizer(
        ["a", "a town by the sea"], padding=True, truncation=True, max_length=3
    )  # sets the backend's state
    assert tokenizer_digest(tokenizer) == before == tokenizer_digest(same)
    tokenizer.chat_template = "{{ messages[0].content }}"
    with_template = tokenizer_digest(tokenizer)
    tokenizer.add_tokens(["<new>"])
    assert len({before, with_template, tokenizer_digest(tokenizer)}) == 3
