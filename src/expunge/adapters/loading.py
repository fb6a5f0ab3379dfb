"""A model with the adapters of earlier runs, and an exported adapter merged into its base."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..models.fingerprint import remember_checkpoint, remember_fingerprint
from ..models.loading import load_base, load_config, load_weights
from ..models.processes import device, shards
from ..models.settings import Model
from ..models.sharding import shard
from .export import export_merged
from .stack import add_adapters


def load_model(model: Model, key: str = "model.path") -> Any:
    """The causal LM on this process's device, in eval mode, from safetensors only, with its adapters added;
    where the processes share its weights (`models.sharding`) this one's part of it.

    Raises `InputError` where the folder or hub id holds no such model or not all of its weights, and where an adapter
    does not belong to it.
    """
    loaded = load_base(model, key)
    own = _checkpoint(model, key) if model.quantization or _is_rounded(model, loaded.dtype, key) else None
    add_adapters(loaded if own is None else own, model.adapters)
    if own is not None:
        if model.adapters:
            loaded.load_state_dict(own.state_dict())  # rounded, of the sum in fp32
        remember_checkpoint(loaded, own)
    if shards():
        remember_fingerprint(loaded)
        shard(loaded, device())
    return loaded


def _is_rounded(model: Model, dtype: torch.dtype, key: str) -> bool:
    """Whether the sum of the weights and their adapters is another one in `dtype` than in that of the checkpoint."""
    if dtype != torch.bfloat16 or not model.adapters:
        return dtype == torch.float16
    return load_config(model, key).dtype != torch.bfloat16


def _checkpoint(model: Model, key: str) -> Any:
    """The weights on the CPU, before any rounding; None where the checkpoint itself is quantised.

    In their own dtype they are not copied from the files, so this takes next to no memory. They are in fp32 where
    adapters are to be added to them.
    """
    if getattr(load_config(model, key), "quantization_config", None) is not None:
        return None
    return load_weights(model, key, dtype=torch.float32 if model.adapters else "auto")


def write_merged(model: Model, tokenizer: Any, adapter_folder: Path, output: Path) -> None:
    """Merge an exported adapter into its base, read anew in the checkpoint's own dtype."""
    own = str(load_config(model).dtype or torch.float32).removeprefix("torch.")
    base = load_model(model.model_copy(update={"dtype": own, "quantization": None}))
    export_merged(base, tokenizer, adapter_folder, output)
