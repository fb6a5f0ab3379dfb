"""Telling one base model from another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

SAMPLES_PER_TENSOR = 64
#: Attribute of a model whose weights in memory are rounded: what is sampled of them → of its checkpoint's own.
_OF_CHECKPOINT = "_samples_of_checkpoint"


def fingerprint(model: Any) -> str:
    """A hash of the weights of a model, of the base alone where adapters are attached.

    Of every parameter: its name, shape, and 64 evenly spaced values rounded to bf16. So it is quick at any size, the
    same for a checkpoint loaded in fp32 and in bf16, and another one after any finetuning. Weights that are still as
    `load_model` rounded them to fp16 or quantised them count as the checkpoint's, which only it knows of: a model that
    transformers loaded so is another one. It tells bases apart; it is no defence against someone who forges one.
    """
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    of_checkpoint = getattr(base, _OF_CHECKPOINT, {})
    digest = hashlib.sha256()
    for _, sampled in sorted(_samples(base)):
        digest.update(of_checkpoint.get(sampled, sampled))
    return digest.hexdigest()[:32]


def remember_checkpoint(rounded: Any, checkpoint: Any) -> None:
    """Let `rounded`, in fp16 or quantised, have the fingerprint of `checkpoint`, the same model in its own dtype.

    It holds for each of its parameters as long as that is not changed, and for the parts of the model too.
    """
    own = dict(_samples(checkpoint))
    setattr(
        rounded, _OF_CHECKPOINT, {sampled: own[name] for name, sampled in _samples(rounded) if name in own}
    )


def _samples(base: Any) -> Iterator[tuple[str, bytes]]:
    """Name of each parameter, and what is hashed of it."""
    for full_name, parameter in base.named_parameters():
        if ".lora_" not in full_name:
            name = full_name.replace(".base_layer.", ".")
            yield name, f"{name}{tuple(parameter.shape)}".encode() + _values(parameter.detach())


def _values(parameter: Tensor) -> bytes:
    flat = parameter.reshape(-1)
    step = max(1, flat.numel() // SAMPLES_PER_TENSOR)
    return flat[::step][:SAMPLES_PER_TENSOR].to(torch.bfloat16).float().cpu().numpy().tobytes()
