"""Tiny random models of the shapes that users have, and batches for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    BloomConfig,
    BloomForCausalLM,
    FalconConfig,
    FalconForCausalLM,
    Gemma3ForCausalLM,
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


def random_model(shape: str = "llama", scale: float = 5.0) -> Any:
    """A tiny random model whose predictions are not uniform: weights scaled up from their initial size."""
    torch.manual_seed(1)
    model = FAMILIES[shape]().eval()
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
