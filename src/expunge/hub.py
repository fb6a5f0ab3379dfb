"""Names on the Hugging Face hub: which are asked for, what is said where the hub is not asked, what was asked.

A path that is mistyped is nobody's business: it is not sent anywhere. So a name is asked for only where it is plainly
`organisation/name`, and begins with no folder that is here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

#: The variables by which users keep libraries from the hub; each is as good as the other.
OFFLINE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
#: Endings of files; a name on the hub with one of them is a file's.
FILES = (
    ".json",
    ".jsonl",
    ".csv",
    ".tsv",
    ".txt",
    ".md",
    ".parquet",
    ".yaml",
    ".yml",
    ".safetensors",
    ".gz",
    ".zip",
)
_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?"

_asked: ContextVar[list[str] | None] = ContextVar("asked", default=None)


def is_hub_id(name: str) -> bool:
    """Whether this is the id of a model or data set on the hub: `organisation/name`, and no path."""
    if not re.fullmatch(f"{_PART}/{_PART}", name) or name.lower().endswith(FILES):
        return False
    return not Path(name.partition("/")[0]).is_dir()


def offline() -> str | None:
    """The variable that keeps the hub from being asked, None where there is none."""
    return next(
        (name for name in OFFLINE if os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE")), None
    )


def connection_remedy(otherwise: str) -> str:
    """The way out where the hub did not give what was asked for: with the connection, or with the variable."""
    name = offline()
    return f"{name} is set, so only what was downloaded before is looked at: unset it, or {otherwise}" if name else (
        f"Check the name and the connection, or {otherwise}"
    )  # fmt: skip


def ask(what: str, name: str) -> None:
    """Record that the hub is asked, just before it is. what: `model` or `data set`"""
    asked = _asked.get()
    entry = f"{what} {name}"
    if asked is not None and offline() is None and entry not in asked:
        asked.append(entry)


@contextmanager
def recording() -> Iterator[list[str]]:
    """Within the block the list grows by what the hub is asked for; a block around it has that too once it is over."""
    asked: list[str] = []
    token = _asked.set(asked)
    try:
        yield asked
    finally:
        _asked.reset(token)
        if (around := _asked.get()) is not None:
            around += [entry for entry in asked if entry not in around]
