"""An exported adapter merged into its base, read anew from the checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from ..adapters.export import export_merged
from ..models.loading import load_config, load_model
from ..recipe.schema import Model


def write_merged(model: Model, tokenizer: Any, adapter_folder: Path, output: Path) -> None:
    """Merge an exported adapter into its base, read anew in the checkpoint's own dtype."""
    own = str(load_config(model).dtype or torch.float32).removeprefix("torch.")
    base = load_model(model.model_copy(update={"dtype": own, "quantization": None}))
    export_merged(base, tokenizer, adapter_folder, output)
