"""One writer a folder: who writes there holds its lock, and a second one is told who that is.

The lock is the system's (`flock`), on a file that names its holder. The system lets go of it when the process ends,
however it ends: a dead process's lock is taken over, and nothing has to be judged stale.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import InputError, Problem
from ..intact import check_writable
from ..progress import first_process, say
from ..storage import LOCK
from .machine import now

#: Seconds that the holder has to write its name, once it has the lock.
NAMED_WITHIN = 1.0


@contextmanager
def locked(folder: Path, where: str) -> Iterator[None]:
    """Within the block this process alone writes to `folder`, which is made where it is missing.

    where: what the user calls the folder, for messages

    Of several processes of one launch the first holds the lock for all. A folder that was made for the lock alone goes
    with it. Raises `InputError` with process and host where another one holds the lock, and as `check_place` does.
    """
    check_place(folder, where)
    folder = folder.resolve()
    if not first_process():
        yield
        return
    held, made = _take(folder, where)
    try:
        yield
    finally:
        # Before it is let go: who comes between takes a lock that has no name any more, sees it, and makes a new one.
        with suppress(FileNotFoundError):
            if _is_at(held, folder / LOCK):
                (folder / LOCK).unlink()
        os.close(held)
        with suppress(OSError):  # something lies there
            for place in made:
                place.rmdir()


def check_place(folder: Path, where: str) -> None:
    """Raise `InputError` where no folder of that name can be written to."""
    if folder.is_file():
        raise InputError(Problem(where, "this is a file.", "Name a folder."))
    for place in (folder, *folder.parents):
        if place.is_symlink() and not place.exists():
            raise InputError(
                Problem(
                    where,
                    f"{str(place)!r} is a link to what is not there.",
                    "Remove the link, or name another.",
                )
            )
    check_writable(folder, where)


def _take(folder: Path, where: str) -> tuple[int, list[Path]]:
    """The open file of the lock, and the places that were made for it, the innermost first."""
    while True:
        missing = [place for place in (folder, *folder.parents) if not place.exists()]
        held = _with_new_folder(folder, missing[-1]) if missing else _in_folder(folder, where)
        if held is not None:
            return held, missing


def _in_folder(folder: Path, where: str) -> int | None:
    """The lock of a folder that is there; None where it is not there any more, or its holder has just gone."""
    file = folder / LOCK
    if file.is_symlink():
        raise InputError(
            Problem(str(file), "it is a link.", "Remove it: what it leads to is not written to.")
        )
    try:
        descriptor = _open(file)
    except FileNotFoundError:  # another one has just let go of it, and the folder went with it
        return None
    try:
        _lock(descriptor, folder)
    except BlockingIOError:
        os.close(descriptor)
        raise _held(file, where) from None
    if not _is_at(descriptor, file):  # its holder has let go of it since, and taken its name away
        os.close(descriptor)
        return None
    _name_holder(descriptor)
    return descriptor


def _with_new_folder(folder: Path, topmost: Path) -> int | None:
    """The lock of a folder that is made with it; None where another one was first.

    topmost: the first of its parents, or itself, that is not there

    It is made under a name that nobody knows, and appears whole, with its lock held: of several processes the one that
    has made it is the one that holds it, and knows what to take away.
    """
    hidden = topmost.with_name(f".{secrets.token_hex(8)}")
    descriptor = None
    try:
        hidden.mkdir()
        inner = hidden / folder.relative_to(topmost)
        inner.mkdir(parents=True, exist_ok=True)
        descriptor = _open(inner / LOCK)
        _lock(descriptor, folder)
        _name_holder(descriptor)
        hidden.rename(topmost)
    except BaseException as error:
        if descriptor is not None:
            os.close(descriptor)
        shutil.rmtree(hidden, ignore_errors=True)
        # Another one was first; or what it was to lie in has just gone.
        if isinstance(error, OSError) and error.errno in (errno.EEXIST, errno.ENOTEMPTY, errno.ENOENT):
            return None
        raise
    return descriptor


def _open(file: Path) -> int:
    return os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)


def _lock(descriptor: int, folder: Path) -> None:
    """Raises `BlockingIOError` where another one holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.ENOLCK, errno.ENOTSUP):
            raise
        say(f"{folder} is on a file system without locks: see to it that no other process writes there.")


def _name_holder(descriptor: int) -> None:
    holder = {"process": os.getpid(), "host": socket.gethostname(), "since": now()}
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, json.dumps(holder).encode(), 0)


def _is_at(descriptor: int, file: Path) -> bool:
    """Whether the open file still has the name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(file))
    except FileNotFoundError:
        return False


def _held(file: Path, where: str) -> InputError:
    who = "another process"
    until = time.monotonic() + NAMED_WITHIN
    while time.monotonic() < until:
        with suppress(OSError, ValueError, KeyError, TypeError):
            holder = json.loads(file.read_text(encoding="utf-8"))
            who = f"process {holder['process']} on {holder['host']}, since {holder['since']}"
            break
        time.sleep(0.01)
    return InputError(
        Problem(where, f"it is being written to by {who}.",
                "Wait until it is over, or end it; a process that is dead holds nothing up.")
    )  # fmt: skip
