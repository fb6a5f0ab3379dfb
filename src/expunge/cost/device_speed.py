"""Measures in a fraction of a second how fast this device is; the cost model divides by that."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import torch
from accelerate.utils import get_max_memory
from torch import nn

from ..adapters.low_rank import leading_singular_vectors
from .operations import Work

#: Seconds that a measurement takes about, and the timings that share them, of long calls two: the least counts.
MEASURING, TIMINGS = 0.1, 4
#: Operations of the product and numbers of the tensor that are measured with, at most.
LARGEST_PRODUCT, LARGEST_TENSOR = 2e10, 2**24
#: Smaller side of the matrix whose decomposition is timed, at most.
LARGEST_DECOMPOSED = 512
#: The shares that a model reaches of the speeds of kernels alone: in products, in element-wise kernels (most do more
#: than add), and in launches (the Python of a model's modules). Fitted to 35 single passes of models of 1 to 27 M
#: parameters on a CPU by `experiments/speed/cost_model_fit.py`, which they then miss by 18 % (root mean square).
#: A trial on the device at hand corrects them (`trial_passes`); for a model that is too large to try they stand.
REACHED_IN_PRODUCTS, REACHED_IN_TRAFFIC, REACHED_IN_LAUNCHES = 0.92, 0.5, 0.3


@dataclass(frozen=True)
class DeviceSpeed:
    """The speeds of one device at the shapes of one model, all kinds of kernels measured alone.

    flops:  operations a second in matrix products
    bytes:  bytes a second that element-wise kernels read and write
    kernel: seconds that a kernel takes however small it is, Python's part included
    """

    flops: float
    bytes: float
    kernel: float

    def seconds(self, work: Work) -> float:
        """Seconds of products, memory traffic and launches in turn, at what a model reaches of these speeds."""
        return (
            work.flops / (self.flops * REACHED_IN_PRODUCTS)
            + work.moved / (self.bytes * REACHED_IN_TRAFFIC)
            + work.kernels * self.kernel / REACHED_IN_LAUNCHES
            + work.beyond
        )


def measure_speed(device: torch.device, dtype: torch.dtype, tokens: int, width: int) -> DeviceSpeed:
    """Time products of (tokens, width) with (width, 4·width), sums of such tensors, and small kernels.

    tokens: of a typical batch; width: of the model's hidden states. Both are lowered where the product would be large.
    """
    while 8.0 * tokens * width * width > LARGEST_PRODUCT and max(tokens, width) > 256:
        tokens, width = max(tokens // 2, 256), max(width // 2, 256)
    with torch.no_grad():
        x = torch.randn(tokens, width, device=device, dtype=dtype)
        weight = torch.randn(4 * width, width, device=device, dtype=dtype)
        product = seconds_of(lambda: nn.functional.linear(x, weight), device)
        rows = min(tokens, LARGEST_TENSOR // width)
        a, b = x[:rows], x[:rows].clone()
        addition = seconds_of(lambda: a + b, device)
    return DeviceSpeed(
        flops=8.0 * tokens * width * width / product,
        bytes=3.0 * rows * width * x.element_size() / addition,
        kernel=_kernel(device),
    )


@cache
def decomposition_seconds(device: torch.device, d_out: int, d_in: int, rank: int) -> float:
    """Seconds of a layer's low-rank approximation; of a large one ∝ m·n from a smaller one of its proportions."""
    share = min(1.0, LARGEST_DECOMPOSED / min(d_out, d_in))
    matrix = torch.randn(round(share * d_out), round(share * d_in), device=device)
    return seconds_of(lambda: leading_singular_vectors(matrix, rank, 0), device) / share**2


def _kernel(device: torch.device) -> float:
    """Seconds of a kernel: a small module's call and its backward pass are five."""
    module = nn.Linear(4, 4, device=device)
    x = torch.ones(4, 4, device=device)
    return seconds_of(lambda: module(x).sum().backward(), device) / 5


def seconds_of(run: Callable[[], object], device: torch.device) -> float:
    """Seconds of a call where nothing else is going on: the least of several short timings.

    On a CPU they are the seconds in which this thread computed, with those that share its kernels: what other jobs on
    the machine take for themselves is no part of it. Python collects no garbage meanwhile: once in a process that takes
    as long as thousands of small kernels.
    """
    clock = time.thread_time if device.type == "cpu" else time.perf_counter
    run()  # the first call chooses kernels and takes memory
    _wait(device)
    collected = gc.isenabled()
    gc.disable()
    least, started = math.inf, clock()
    try:
        for number in range(TIMINGS):
            # A pass that takes longer than all timings should is timed twice.
            if number >= 2 and clock() - started > MEASURING:
                break
            least = min(least, _timing(run, device, clock))
        return least
    finally:
        if collected:
            gc.enable()


def _timing(run: Callable[[], object], device: torch.device, clock: Callable[[], float]) -> float:
    """Mean seconds of as many calls as fit into one timing's share of `MEASURING`."""
    calls, started = 0, clock()
    while (passed := clock() - started) < MEASURING / TIMINGS:
        for _ in range(1 + calls):  # ever more, because looking at the clock waits for a GPU
            run()
        calls += 1 + calls
        _wait(device)
    return passed / calls


def free_memory(device: torch.device) -> float:
    """Bytes that nothing holds now; 0 where it is not known."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(get_max_memory().get(device.type, 0))


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
