"""The processes that share the work, and the device of this one. accelerate knows both."""

from __future__ import annotations

from datetime import timedelta

import torch
from accelerate import PartialState

#: The first process evaluates while the others wait.
WAITING = timedelta(hours=12)


def processes() -> PartialState:
    """This process among all: a single one, or those that `accelerate launch` started.

    Without an accelerator accelerate must be told that the CPU is meant, else it takes several CPU processes for
    unrelated ones.
    """
    return PartialState(cpu=cpu_only(), timeout=WAITING)


def cpu_only() -> bool:
    return not torch.accelerator.is_available()


def device() -> torch.device:
    """The accelerator that this process uses, or the CPU."""
    return torch.device("cpu") if cpu_only() else processes().device
