"""Tiny random models of the shapes that users have, and batches for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma3Config,
    Gemma3ForCausalLM,
    Gemma3ForConditionalGeneration,
    Gemma3TextConfig,
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Phi3Config,
    Phi3ForCausalLM,
    PhiConfig,
    PhiForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

VOCABULARY = 97
_SIZES = {"hidden_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": VOCABULARY}
_ENDS = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 0}

SHAPES: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaForCausalLM(LlamaConfig(intermediate_size=40, **_SIZES, **_ENDS)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(n_embd=24, n_layer=2, n_head=2, vocab_size=VOCABULARY, **_ENDS)
    ),
    "gpt_neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(intermediate_size=40, **_SIZES, **_ENDS)),
    "phi": lambda: PhiForCausalLM(PhiConfig(intermediate_size=40, **_SIZES, **_ENDS)),
}

_GROUPED = {"num_key_value_heads": 1, "head_dim": 12, "intermediate_size": 40, "sliding_window": 6}

#: The shapes above and further families whose layers have other names, norms or attention.
FAMILIES: dict[str, Callable[[], Any]] = {
    **SHAPES,
    "mistral": lambda: MistralForCausalLM(MistralConfig(**_GROUPED, **_SIZES, **_ENDS)),
    "qwen3": lambda: Qwen3ForCausalLM(Qwen3Config(**_GROUPED, **_SIZES, **_ENDS)),
    "phi3": lambda: Phi3ForCausalLM(Phi3Config(**_GROUPED, **_SIZES, **_ENDS)),
    "gemma3": lambda: Gemma3ForCausalLM(Gemma3TextConfig(**_GROUPED, **_SIZES, **_ENDS)),
    "falcon": lambda: FalconForCausalLM(FalconConfig(**_SIZES, **_ENDS)),
    "bloom": lambda: BloomForCausalLM(
        BloomConfig(hidden_size=24, n_layer=2, n_head=2, vocab_size=VOCABULARY, **_ENDS)
    ),
    "gpt_neo": lambda: GPTNeoForCausalLM(
        GPTNeoConfig(
            hidden_size=24,
            num_layers=2,
            num_heads=2,
            vocab_size=VOCABULARY,
            attention_types=[[["global", "local"], 1]],
            window_size=6,
            **_ENDS,
        )
    ),
}


def _configured(kind: str, **settings: Any) -> Callable[[], Any]:
    """A causal LM of a family by its name in transformers."""
    sizes = {**_SIZES, "intermediate_size": 40, "num_key_value_heads": 2, **_ENDS, **settings}
    return lambda: AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **sizes))


def _multimodal() -> Any:
    text = {**_GROUPED, **_SIZES, **_ENDS}
    vision = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": 28, "patch_size": 14}  # fmt: skip
    config = Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=VOCABULARY - 1,
        boi_token_index=VOCABULARY - 2, eoi_token_index=VOCABULARY - 3, **_ENDS,
    )  # fmt: skip
    return Gemma3ForConditionalGeneration(config)


#: Families with layers that a pass over text reaches otherwise: flattened or spread inputs, experts, gates, a tower.
UNUSUAL: dict[str, Callable[[], Any]] = {
    "opt": _configured("opt", ffn_dim=40, word_embed_proj_dim=24),
    "deepseek_v3": _configured(
        "deepseek_v3", n_routed_experts=4, num_experts_per_tok=2, n_group=1, topk_group=1, moe_intermediate_size=32,
        first_k_dense_replace=1, q_lora_rank=16, kv_lora_rank=16, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8,
    ),
    "gemma3_multimodal": _multimodal,
    "mamba": lambda: AutoModelForCausalLM.from_config(
        AutoConfig.for_model("mamba", hidden_size=24, num_hidden_layers=2, vocab_size=VOCABULARY, state_size=4,
                             time_step_rank=4, **_ENDS)
    ),
    "qwen2_moe": _configured(
        "qwen2_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, shared_expert_intermediate_size=24
    ),
    "qwen3_next": _configured(
        "qwen3_next", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, head_dim=12,
        shared_expert_intermediate_size=24, layer_types=["linear_attention", "full_attention"],
        linear_key_head_dim=8, linear_value_head_dim=8, linear_num_key_heads=2, linear_num_value_heads=2,
    ),
    "mixtral": _configured("mixtral", num_local_experts=4, num_experts_per_tok=2),
}  # fmt: skip


def random_model(shape: str = "llama", scale: float = 5.0) -> Any:
    """A tiny random model whose predictions are not uniform: weights scaled up from their initial size."""
    torch.manual_seed(1)
    model = {**FAMILIES, **UNUSUAL}[shape]().eval()
    for name, parameter in model.named_parameters():
        if parameter.ndim == 2 and "embed" not in name and "wte" not in name and "wpe" not in name:
            parameter.data.mul_(scale)
    return model


def random_batch(rows: int, length: int = 9, prompt: int = 3, seed: int = 2) -> dict[str, torch.Tensor]:
    """Random ids, the rows of different lengths, the first `prompt` tokens without labels."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, VOCABULARY, (rows, length), generator=generator)
    lengths = torch.randint(prompt + 2, length + 1, (rows,), generator=generator)
    mask = (torch.arange(length)[None, :] < lengths[:, None]).long()
    labels = torch.where(mask.bool(), ids, -100)
    labels[:, :prompt] = -100
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": labels}


def split_batch(batch: dict[str, torch.Tensor], size: int) -> list[dict[str, torch.Tensor]]:
    rows = len(batch["labels"])
    return [
        {key: value[start : start + size] for key, value in batch.items()} for start in range(0, rows, size)
    ]
