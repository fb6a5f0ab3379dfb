"""Named things that users may extend: those that come with expunge, and those of installed packages.

A package adds a name by an entry point, `group` → `name = "module:attribute"`. Names are known without an import; what
a name stands for is imported when it is looked up.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pkgutil import resolve_name
from typing import Generic, TypeVar

from .errors import InputError, Problem, nearest

T = TypeVar("T")

#: The distribution that the built-in names come from.
OWN = "expunge"


class Registry(Mapping[str, T], Generic[T]):
    """Name → thing, in the order of `builtin`, then those of other packages by name.

    kind:    what messages call a thing
    key:     the recipe's key, or the option, that takes a name
    group:   the entry points by which packages add to it
    of:      "module:class" of which a thing is an instance or a subclass
    builtin: name → "module:attribute"

    Looking up raises `InputError`: for an unknown name with the nearest one, for a name that is there twice, and for a
    package whose entry point cannot be imported or is something else.
    """

    def __init__(self, kind: str, key: str, *, group: str, of: str, builtin: Mapping[str, str]):
        self.kind = kind
        self.key = key
        self.group = group
        self._of = of
        self._builtin = builtin
        self._things: dict[str, T] = {}

    def register(self, name: str, thing: T) -> T:
        """Add what has no package, as in a notebook, for this process. Raises `ValueError` for a name that is taken."""
        if name in self:
            raise ValueError(f"There is a {self.kind} {name!r} already.")
        self._things[name] = thing
        return thing

    def problem(self, name: str, where: str | None = None) -> Problem:
        """The `Problem` that describes an unknown `name`."""
        return Problem(where or self.key, f"there is no {self.kind} {name!r}.", nearest(name, self))

    def loadable(self) -> tuple[dict[str, T], list[Problem]]:
        """Everything that can be imported, by name, and what is wrong with the packages whose things cannot."""
        things: dict[str, T] = {}
        problems: list[Problem] = []
        for name in self:
            try:
                things[name] = self[name]
            except InputError as error:
                problems += error.problems
        return things, problems

    def __getitem__(self, name: str) -> T:
        if name not in self._things:
            self._things[name] = self._load(name)
        return self._things[name]

    def __contains__(self, name: object) -> bool:
        return name in self._things or name in self._builtin or name in self._plugins

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys((*self._builtin, *sorted(self._plugins), *self._things)))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    @cached_property
    def _plugins(self) -> dict[str, list[EntryPoint]]:
        plugins: dict[str, list[EntryPoint]] = {}
        for entry in entry_points(group=self.group):
            plugins.setdefault(entry.name, []).append(entry)
        return plugins

    def _load(self, name: str) -> T:
        entries = self._plugins.get(name, [])
        owners = [OWN] * (name in self._builtin) + [_package(entry) for entry in entries]
        if not owners:
            raise InputError(self.problem(name))
        if len(owners) > 1:
            raise InputError(
                Problem(f"{self.group}: {name}", f"the {self.kind} {name!r} is there {len(owners)} times, from "
                        f"{' and '.join(owners)}.", f"Uninstall {' or '.join(o for o in owners if o != OWN)}, or have "
                        "it call its own something else.")
            )  # fmt: skip
        return self._plugin(entries[0]) if entries else resolve_name(self._builtin[name])

    def _plugin(self, entry: EntryPoint) -> T:
        where = f"package {_package(entry)}, entry point {entry.name!r} of {self.group}"
        remedy = "Correct the package, or uninstall it."
        try:
            thing = entry.load()
        except Exception as error:  # whatever a stranger's module raises
            reason = f"{entry.value!r} cannot be imported ({type(error).__name__}: {' '.join(str(error).split())})."
            raise InputError(Problem(where, reason, remedy)) from error
        wanted = resolve_name(self._of)
        if not isinstance(thing, wanted) and not (isinstance(thing, type) and issubclass(thing, wanted)):
            reason = f"{entry.value!r} is of type {type(thing).__name__}, not a {self.kind} ({self._of})."
            raise InputError(Problem(where, reason, remedy))
        return thing


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown package"
