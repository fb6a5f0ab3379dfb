"""What a phase costs: time, floating-point operations, peak memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..models.linear import matrix_shape

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


class CostMeter:
    """Counts the multiply-adds of every linear layer that it watches, forward and backward, as two operations each.

    The backward pass counts once for the activations' gradients and once more where the weight is trained.
    Attention scores, norms and element-wise work are left out: below a few thousand tokens they are a few per cent.
    """

    def __init__(self) -> None:
        self.flops = 0.0
        self._watched: WeakSet[nn.Module] = WeakSet()

    def watch(self, model: nn.Module) -> None:
        """Count `model` from now on; call again after adapters were added."""
        for module in model.modules():
            if isinstance(module, nn.Linear | Conv1D) and module not in self._watched:
                self._watched.add(module)
                module.register_forward_hook(self._count)

    def _count(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        d_out, d_in = matrix_shape(module)
        positions = inputs[0].numel() // inputs[0].shape[-1]
        passes = 1
        if output.requires_grad:
            passes += 1 + int(getattr(module, "weight").requires_grad)  # noqa: B009 (typed as a Tensor otherwise)
        self.flops += 2.0 * d_out * d_in * positions * passes

    @contextmanager
    def phase(self) -> Iterator[dict[str, Any]]:
        """Yields a dictionary that holds `seconds`, `flops` and `peak_memory_bytes` after the block.

        Peak memory is the accelerator's where there is one, else this process's resident memory.
        """
        cost: dict[str, Any] = {}
        flops, started = self.flops, time.perf_counter()
        _reset_peak()
        yield cost
        cost["seconds"] = time.perf_counter() - started
        cost["flops"] = self.flops - flops
        cost["peak_memory_bytes"] = _peak()


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif _CLEAR.exists():
        try:
            _CLEAR.write_text("5")  # Linux: start the high-water mark of resident memory anew
        except OSError:
            return


def _peak() -> int:
    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated())
    return _of_process("VmHWM") or _highest()


def resident_memory() -> int:
    """Bytes of this process in memory now; the highest so far where the system does not tell."""
    return _of_process("VmRSS") or _highest()


def _of_process(key: str) -> int | None:
    if not _STATUS.exists():
        return None
    lines = _STATUS.read_text().splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:")), None)


def _highest() -> int:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
