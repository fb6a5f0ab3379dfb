"""Numbers in 64 bits, wherever the model lies."""

from __future__ import annotations

import torch
from torch import Tensor


def float64(tensor: Tensor) -> Tensor:
    """A tensor in fp64, on its device, or on the CPU where its device has no such numbers, as Apple's has not."""
    return tensor.to("cpu" if tensor.device.type == "mps" else tensor.device, torch.float64)
