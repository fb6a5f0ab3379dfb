"""Telling one base model from another."""

from __future__ import annotations

import hashlib
from typing import Any

import torch

SAMPLES_PER_TENSOR = 64


def fingerprint(model: Any) -> str:
    """A hash of the weights of a model, of the base alone where adapters are attached.

    Of every parameter: its name, shape, and 64 evenly spaced values rounded to bf16. So it is quick at any size, the
    same for a checkpoint loaded in fp32 and in bf16, and another one after any finetuning. It tells bases apart; it
    is no defence against someone who forges one.
    """
    digest = hashlib.sha256()
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    for name, parameter in sorted(base.named_parameters(), key=lambda item: _base_name(item[0])):
        if ".lora_" in name:
            continue
        flat = parameter.detach().reshape(-1)
        step = max(1, flat.numel() // SAMPLES_PER_TENSOR)
        values = flat[::step][:SAMPLES_PER_TENSOR].to(torch.bfloat16).float().cpu()
        digest.update(f"{_base_name(name)}{tuple(parameter.shape)}".encode())
        digest.update(values.numpy().tobytes())
    return digest.hexdigest()[:32]


def _base_name(name: str) -> str:
    return name.replace(".base_layer.", ".")
