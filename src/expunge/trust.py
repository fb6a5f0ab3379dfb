"""Whether Python code that comes with models and task files is run: the user's word, given for this call.

A recipe, a run folder and a folder of task files may come from anyone. So nothing that they say counts: the word is
given on the command line, or by an argument in Python, and holds for what is done within.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

#: What the option of the command line is called.
FLAG = "--trust-remote-code"

_trusted = ContextVar("trusted", default=False)


@contextmanager
def trusting(remote_code: bool) -> Iterator[None]:
    """Within the block foreign code is run where `remote_code` is true, or where a block around this one says so."""
    token = _trusted.set(remote_code or _trusted.get())
    try:
        yield
    finally:
        _trusted.reset(token)


def is_trusted() -> bool:
    """Whether foreign code is run now."""
    return _trusted.get()
