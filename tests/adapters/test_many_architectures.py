"""Step 0, the exported adapter and the merged model, over the architectures of transformers that people bring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import AutoConfig, AutoModelForCausalLM

import tokenizer_families
from expunge import attach_adapter, export_adapter
from expunge.adapters.attach import uniform_importance
from expunge.adapters.export import export_merged
from tiny_models import VOCABULARY

_ENDS = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}
_USUAL = {
    "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip
_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4}
#: Model type → its sizes; those beside the usual ones where the value is an update.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi", "phi3", "gpt_neox", "olmo",
         "olmo2", "cohere", "starcoder2", "stablelm", "granite", "smollm3", "glm4", "exaone4", "nemotron"),
        _USUAL | {"head_dim": 8},
    ),
    "falcon": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4},
    "opt": _USUAL | {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "mixtral": _USUAL | {"num_local_experts": 4, "num_experts_per_tok": 2},
    "qwen2_moe": _USUAL
    | {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
       "shared_expert_intermediate_size": 32},
    "gpt2": _GPT2,
    "gptj": _GPT2 | {"rotary_dim": 4},
    "bloom": {"hidden_size": 32, "n_layer": 2, "n_head": 4},
    "gpt_neo": {"hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]],
                "window_size": 6},
}  # fmt: skip


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_base_is_untouched_and_both_forms_are_the_trained_model(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**_ENDS, **ARCHITECTURES[kind]})
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    model.save_pretrained(tmp_path / "base")
    ids = torch.arange(1, 20)[None]

    def logits(of: Any) -> torch.Tensor:
        with torch.no_grad():
            return of.eval()(ids).logits

    def fresh(folder: str) -> Any:
        return AutoModelForCausalLM.from_pretrained(tmp_path / folder, dtype=torch.float32)

    before = logits(model)
    adapted = attach_adapter(model, uniform_importance(model), rank=2, alpha=4)
    assert torch.equal(logits(adapted), before)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            parameter.data.add_(0.05 * torch.randn_like(parameter))
    trained = logits(adapted)
    assert (trained - before).abs().max() > 1e-3
    export_adapter(adapted, tmp_path / "adapter")
    loaded = PeftModel.from_pretrained(fresh("base"), str(tmp_path / "adapter"))
    export_merged(fresh("base"), tokenizer_families.gpt2_like(), tmp_path / "adapter", tmp_path / "merged")
    for handed_over in (loaded, fresh("merged")):
        torch.testing.assert_close(logits(handed_over), trained, rtol=0, atol=1e-5)
