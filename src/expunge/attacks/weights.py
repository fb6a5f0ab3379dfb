"""Weights of the linear layers, replaced within a block."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from ..models.linear import linear_layers


@contextmanager
def replaced(model: Any, change: Callable[[str, Tensor], Tensor]) -> Iterator[Any]:
    """Within the block every linear layer but the output embedding has the weight that `change` makes of its own.

    change: (name, weight (d_out, d_in)) → the new weight; the factors of adapters are left as they are

    Afterwards the very same tensors are in their places again.
    """
    own: dict[Any, Any] = {}
    try:
        with torch.no_grad():
            for name, module in linear_layers(model).items():
                if ".lora_" in name:
                    continue
                weight: Any = module.weight.data
                own[module] = weight
                turned = isinstance(module, Conv1D)
                new = change(name, weight.T if turned else weight).to(weight)
                module.weight.data = (new.T if turned else new).contiguous()
        yield model
    finally:
        for module, weight in own.items():
            module.weight.data = weight
