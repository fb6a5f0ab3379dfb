"""Training a model's own weights: the precision that it takes, and the model that is handed over."""

from __future__ import annotations

from typing import Any

import torch

from ..folder.run import RunFolder
from ..models.loading import load_config
from ..models.processes import cpu_only
from ..models.settings import Model
from ..storage import atomic_folder
from ..training.settings import Training


def own_dtype(model: Model, key: str) -> torch.dtype:
    """That of the checkpoint. key: the recipe's that names it, for messages"""
    return load_config(model, key).dtype or torch.float32


def trained_dtype(model: Model) -> str:
    """An optimiser step on bf16 weights is mostly rounded away, so they are fp32 unless the recipe says otherwise."""
    return "float32" if model.dtype == "auto" else model.dtype


def computed(training: Training, own: torch.dtype) -> Training:
    """With fp32 weights of a bf16 checkpoint an accelerator computes in bf16, unless the recipe says otherwise."""
    if cpu_only() or training.precision != "auto" or own != torch.bfloat16:
        return training
    return training.model_copy(update={"precision": "bf16"})


def write_whole(model: Any, tokenizer: Any, folder: RunFolder, own: torch.dtype) -> None:
    """Write the model to the run's `merged/`, in its checkpoint's dtype `own`."""
    model.to(own)
    with atomic_folder(folder.merged) as partial:
        model.save_pretrained(str(partial))
        tokenizer.save_pretrained(str(partial))
