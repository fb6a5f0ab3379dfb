"""Whether this processor multiplies faster in bf16 than in fp32: it is asked by a timed product, not assumed.

Processors with AMX or AVX-512 bf16 do; others compute bf16 by way of fp32, and are slower for it.

Where it is faster large models in fp32 pass in bf16: in training and, within `fast_passes`, in all that scores or
writes; importance is measured in fp32. Products alone are rounded: weights, losses and sums stay in fp32. A run says
once what its passes are made in (`passing_in`), so that one that is resumed on another processor goes on alike.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from .processes import device, processes
from .settings import Precision

#: Below so many parameters a pass takes milliseconds, and the other kernels more than the products.
LEAST_PARAMETERS = 50_000_000
#: bf16 is chosen from this speed-up of a product on: a whole pass gains less, as not all of it is products.
LEAST_SPEEDUP = 1.5
#: Tokens in the product, and timings of each kind in turn, of which the least counts.
TOKENS, TIMINGS = 512, 5

_said: ContextVar[Precision] = ContextVar("precision of passes", default="auto")


def may_gain(dtype: torch.dtype, parameters: int) -> bool:
    """Whether bf16 is worth asking for: a large model in fp32, in one process on a CPU."""
    alone = device().type == "cpu" and processes().num_processes == 1
    return alone and dtype == torch.float32 and parameters >= LEAST_PARAMETERS


def mixed_precision(precision: str, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether `training.precision` means bf16 for a model with weights of this dtype on this device."""
    if precision != "auto":
        return precision == "bf16"
    return device.type == "cuda" and dtype == torch.bfloat16


@contextmanager
def passing_in(precision: Precision) -> Iterator[None]:
    """Within the block models that may gain from bf16 pass in this; `auto`: in what this machine is faster in."""
    token = _said.set(precision)
    try:
        yield
    finally:
        _said.reset(token)


@contextmanager
def fast_passes(model: Any) -> Iterator[None]:
    """Within the block the products of this model's passes are made in its `pass_precision`.

    Of 48 answers of SmolLM2-135M bf16 changed the probabilities by 0.0006 in the mean, 0.004 at most, and the mean of
    all by 0.0001; the passes took 0.45 of the time (one thread of an AMD EPYC with AVX-512 bf16).
    """
    with torch.autocast("cpu", torch.bfloat16) if pass_precision(model) == "bf16" else nullcontext():
        yield


@contextmanager
def weights_at_hand(model: Any) -> Iterator[None]:
    """Within the block a model that passes in bf16 has its linear layers' weights in it.

    Autocast would round them anew in every pass: little of one over a whole batch, much of one over the next token.
    With SmolLM2-135M, on one thread of an AMD EPYC, 16 tokens in 20 rows took 23 % less, and were the same.
    The copies take half of the memory of the weights.
    """
    own = round_weights(model) if pass_precision(model) == "bf16" else []
    try:
        yield
    finally:
        for module, weight in own:
            module._parameters["weight"] = weight


def round_weights(model: nn.Module) -> list[tuple[nn.Module, Any]]:
    """Give every linear layer with fp32 weights a copy of them in bf16; returns the layers with what they had.

    An embedding that shares its weight with the output layer keeps its own.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | Conv1D)]
    own = [
        (module, weight)
        for module in layers
        if (weight := module._parameters["weight"]) is not None and weight.dtype == torch.float32
    ]
    for module, weight in own:
        module._parameters["weight"] = nn.Parameter(weight.detach().bfloat16(), requires_grad=False)
    return own


def pass_precision(model: Any) -> Literal["fp32", "bf16"]:
    """What the passes of a model are made in on this machine, as far as that is not its weights' own dtype."""
    parameters = sum(parameter.numel() for parameter in model.parameters())
    said = _said.get()
    if said == "fp32" or not may_gain(next(model.parameters()).dtype, parameters):
        return "fp32"
    if said == "bf16":
        return "bf16"
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
