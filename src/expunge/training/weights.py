"""What a checkpoint holds: the adapter that is trained, or all weights where there is none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..adapters.anchor import load_weights, save_adapter

MODEL_FILE = "model.safetensors"


def save_trained(model: Any, folder: Path, state_dict: dict[str, Tensor] | None = None) -> None:
    """Write what training changes to `folder`.

    state_dict: of the whole model, where it had to be gathered from several processes
    """
    if isinstance(model, PeftModel):
        save_adapter(model, folder, state_dict)
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Only parameters: tied ones come once, so that no two tensors share their memory.
    weights = {
        name: (state_dict or {}).get(name, parameter).detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
    }
    save_file(weights, folder / MODEL_FILE)


def load_trained(model: Any, folder: Path) -> None:
    """Read what `save_trained` wrote into `model`; nothing else of it changes."""
    if isinstance(model, PeftModel):
        load_weights(model, folder)
        return
    missing, unexpected = model.load_state_dict(load_file(folder / MODEL_FILE), strict=False)
    own = dict(model.named_parameters())
    if unexpected or own.keys() & set(missing):
        raise ValueError(f"{folder} is a checkpoint of another model: {sorted(unexpected)} {sorted(missing)}")
