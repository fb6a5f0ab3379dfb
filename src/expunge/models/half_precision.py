"""Whether this processor multiplies faster in bf16 than in fp32: it is asked by a timed product, not assumed.

Processors with AMX or AVX-512 bf16 do; others compute bf16 by way of fp32, and are slower for it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .processes import device, processes

#: Below so many parameters a training takes seconds, and the other kernels more than the products.
LEAST_PARAMETERS = 50_000_000
#: bf16 is chosen from this speed-up of a product on: a whole pass gains less, as not all of it is products.
LEAST_SPEEDUP = 1.5
#: Tokens in the product, and timings of each kind in turn, of which the least counts.
TOKENS, TIMINGS = 512, 5


def may_gain(dtype: torch.dtype, parameters: int) -> bool:
    """Whether bf16 is worth asking for: training of a large model in fp32, by one process on a CPU."""
    alone = device().type == "cpu" and processes().num_processes == 1
    return alone and dtype == torch.float32 and parameters >= LEAST_PARAMETERS


def mixed_precision(precision: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `training.precision` means bf16 for a model with weights of this dtype on this device."""
    if precision != "auto":
        return precision == "bf16"
    return device.type == "cuda" and dtype == torch.bfloat16


def faster_precision(model: Any) -> Literal["fp32", "bf16"]:
    """What this machine trains a model with weights in fp32 faster in."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    if not may_gain(model.get_input_embeddings().weight.dtype, parameters):
        return "fp32"
    return "bf16" if bf16_speedup(model.config.get_text_config().hidden_size) >= LEAST_SPEEDUP else "fp32"


@cache
def bf16_speedup(width: int) -> float:
    """How many times faster a feed-forward layer's product of this width is in bf16, its inputs' cast included.

    In seconds of this thread, so that what other jobs take for themselves is no part of it.
    """
    x, weight = torch.ones(TOKENS, width), torch.ones(4 * width, width)  # a run's random numbers stay its own
    half = weight.bfloat16()
    kinds: tuple[Callable[[], Tensor], ...] = (
        lambda: nn.functional.linear(x, weight),
        lambda: nn.functional.linear(x.bfloat16(), half),
    )
    with torch.no_grad():
        timings = [[_seconds(run) for run in kinds] for _ in range(TIMINGS)]
    full, half_as_wide = (min(seconds) for seconds in zip(*timings, strict=True))
    return full / half_as_wide


def _seconds(run: Callable[[], Tensor]) -> float:
    started = time.thread_time()
    run()
    return time.thread_time() - started
