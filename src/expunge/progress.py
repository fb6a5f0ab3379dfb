"""Progress on stderr: bars on a terminal, plain lines elsewhere. stdout stays free for results."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Generator, Iterable, Iterator
from typing import Protocol, TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

T = TypeVar("T", covariant=True)

SECONDS_BETWEEN_LINES = 10.0


def say(message: str) -> None:
    """Print one line to the user, on stderr; of several processes only the first one speaks."""
    if first_process():
        print(message, file=sys.stderr, flush=True)


def first_process() -> bool:
    """Whether this process is the first, by the environment of `accelerate launch` and torchrun; it needs no torch."""
    return os.environ.get("RANK", "0") == "0"


class Countable(Protocol[T]):
    """An iterable that knows its length: a list, a range, a DataLoader."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[T]: ...


def track(items: Countable[T], description: str) -> Generator[T, None, None]:
    """Iterate over `items` and show the progress; closing the generator early takes the bar away."""
    total = len(items)
    if sys.stderr.isatty() and first_process():
        yield from _bar(items, description, total)
    else:
        yield from _lines(items, description, total)


def _bar(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, total=total, description=description)


def _lines(items: Iterable[T], description: str, total: int) -> Iterator[T]:
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last > SECONDS_BETWEEN_LINES:
            say(f"{description}: {done} of {total}")
            last = time.monotonic()
        yield item
