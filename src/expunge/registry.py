"""A dictionary of named things that users may extend, filled by a decorator."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Generic, TypeVar

from .errors import InputError, Problem, nearest

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """Name → thing. Registering a name twice and looking up an unknown one are errors.

    >>> losses = Registry("forget loss", key="objective.forget")
    >>> losses.register("ga", 1)
    1
    >>> losses["ga"]
    1
    """

    def __init__(self, kind: str, key: str):
        self.kind = kind
        self.key = key
        self._entries: dict[str, T] = {}

    def register(self, name: str, entry: T) -> T:
        if name in self._entries:
            raise ValueError(f"The {self.kind} {name!r} is registered already.")
        self._entries[name] = entry
        return entry

    def __call__(self, name: str) -> Callable[[T], T]:
        """Use as a decorator: ``@estimators("fila")``."""
        return lambda entry: self.register(name, entry)

    def problem(self, name: str, where: str | None = None) -> Problem:
        """The `Problem` that describes an unknown `name`."""
        return Problem(where or self.key, f"there is no {self.kind} {name!r}.", nearest(name, self._entries))

    def __getitem__(self, name: str) -> T:
        try:
            return self._entries[name]
        except KeyError:
            raise InputError(self.problem(name)) from None

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
