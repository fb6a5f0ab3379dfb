"""Locks between workers. The kernel lets go of them when a worker dies, however it dies."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from ..errors import InputError, Problem


def take(file: Path, *, wait: bool = False) -> TextIO | None:
    """The lock, held until what is returned is closed; None where another worker holds it and we do not wait.

    Raises `InputError` where the file system has no locks.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    handle = file.open("w")
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        handle.close()
        return None
    except OSError as error:
        handle.close()
        raise InputError(
            Problem(str(file), f"this file system knows no locks between workers ({error.strerror}).",
                    "Choose an --output on another one.")
        ) from error  # fmt: skip
    return handle


@contextmanager
def held(file: Path) -> Iterator[None]:
    """Within the block no other worker is in a block with this file."""
    handle = take(file, wait=True)
    assert handle is not None
    with handle:
        yield
