"""The processes that share the work, and the device of this one. accelerate knows both."""

from __future__ import annotations

import atexit
import functools
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import gather_object

from ..errors import InputError, Problem
from .launch import check_launch, shards_base
from .sharding import accompany

T = TypeVar("T")
Result = TypeVar("Result")

#: The first process writes files and reports while the others wait.
WAITING = timedelta(hours=12)


def processes() -> PartialState:
    """This process among all: a single one, or those that `accelerate launch` started.

    Without an accelerator accelerate must be told that the CPU is meant, else it takes several CPU processes for
    unrelated ones.

    Raises `InputError` where `accelerate launch` asked for what is not supported.
    """
    check_launch()
    _leave_the_group_at_exit()
    return PartialState(cpu=cpu_only(), timeout=WAITING)


@functools.cache
def _leave_the_group_at_exit() -> None:
    """End the group at exit: gloo's threads, left to the interpreter, now and then abort a process that has done its
    work."""
    atexit.register(lambda: PartialState().destroy_process_group())


def cpu_only() -> bool:
    return not torch.accelerator.is_available()


def device() -> torch.device:
    """The accelerator that this process uses, or the CPU."""
    return torch.device("cpu") if cpu_only() else processes().device


def shards() -> bool:
    """Whether a base is spread over several processes when it is loaded."""
    return shards_base() and processes().num_processes > 1


def refuse_shards(
    what: str, remedy: str = "Launch it without FSDP: each process then holds the base."
) -> None:
    """Raise `InputError` where the base is spread over the processes. what: the sentence, up to the reason"""
    if shards():
        raise InputError(Problem("accelerate launch", f"{what} on a base that FSDP shards.", remedy))


def share(items: Sequence[T]) -> list[T]:
    """This process's part of `items`: every N-th, of N processes."""
    state = processes()
    return list(items[state.process_index :: state.num_processes])


def gathered(results: Mapping[int, Result]) -> dict[int, Result]:
    """The results of all processes, by the numbers of their items. Every process must call it."""
    accompany()
    return dict(gather_object(list(results.items())))
