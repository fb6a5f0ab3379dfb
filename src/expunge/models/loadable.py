"""Whether a model will load, as far as one can tell without reading its weights."""

from __future__ import annotations

import os
from pathlib import Path

from ..errors import InputError, Problem
from .loading import INDEX, WEIGHTS, indexed_files, load_config, quantization_config, refuse_unsafe
from .settings import Model


def check_loadable(model: Model, key: str = "model.path") -> None:
    """Raise `InputError` for what `load_model` refuses before it has read the weights.

    Of a model on the hub only the configuration is looked at.
    """
    load_config(model, key)
    if model.quantization:
        quantization_config(model)
    refuse_unsafe(model, key)
    folder = Path(model.path)
    missing = [name for name in _weight_files(folder) if not (folder / name).is_file()]
    if os.path.isdir(folder) and missing:
        raise InputError(
            Problem(key, f"the folder {model.path!r} lacks weights: {', '.join(missing[:3])}.",
                    "Copy them there from where the model comes, as safetensors.")
        )  # fmt: skip


def _weight_files(folder: Path) -> list[str]:
    """The single file of weights, or those that the index names."""
    if not os.path.isfile(folder / WEIGHTS) and os.path.isfile(folder / INDEX):
        return indexed_files(folder / INDEX)
    return [WEIGHTS]
