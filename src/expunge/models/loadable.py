"""Whether a model will load, as far as that shows without reading its weights."""

from __future__ import annotations

import json
from pathlib import Path

from ..errors import InputError, Problem
from .loading import load_config, quantization_config, refuse_pickle
from .settings import Model

WEIGHTS = "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"


def check_loadable(model: Model, key: str = "model.path") -> None:
    """Raise `InputError` for what `load_model` refuses before it has read the weights.

    Of a model on the hub only the configuration is looked at.
    """
    load_config(model, key)
    if model.quantization:
        quantization_config(model)
    refuse_pickle(model, key)
    folder = Path(model.path)
    missing = [name for name in _weight_files(folder) if not (folder / name).is_file()]
    if folder.is_dir() and missing:
        raise InputError(
            Problem(key, f"the folder {model.path!r} lacks weights: {', '.join(missing[:3])}.",
                    "Copy them there from where the model comes, as safetensors.")
        )  # fmt: skip


def _weight_files(folder: Path) -> list[str]:
    """One file, or those that the index names; a damaged index is for `load_model` to tell of."""
    if (folder / WEIGHTS).is_file():
        return []
    try:
        return sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
    except FileNotFoundError:
        return [WEIGHTS]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
