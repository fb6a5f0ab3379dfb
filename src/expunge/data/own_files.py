"""A set of the user's own: a file, a folder, or a split on the hub, its format recognised."""

from __future__ import annotations

from ..errors import InputError, Problem
from .columns import Columns
from .rows import read_rows
from .sample_set import SampleSet
from .samples import recognise, to_samples


def read_own_set(source: str, columns: Columns, key: str) -> tuple[SampleSet, str]:
    """One set and its format: qa, chat or text. source: a file, a folder or `hub/id:split`.

    Raises `InputError`, naming `key` or the rows, for a source that cannot be read.
    """
    rows = read_rows(source, key)
    recognised = recognise(rows, columns, source, key) if rows else Columns(format="text")
    samples = to_samples(rows, recognised, source)
    if not samples:
        raise InputError(Problem(key, f"{source!r} holds no samples.", "Give at least one."))
    return SampleSet(source, samples), recognised.format
