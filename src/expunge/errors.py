"""The exceptions that expunge raises.

    ExpungeError
    ├── InputError    the user's recipe, data or arguments are wrong   (exit code 2)
    └── RunFailed     the work itself failed while running             (exit code 1)
        └── Diverged  training left no epoch that can be handed over

    Terminated        SIGTERM, which ends the work as Ctrl-C does          (exit code 130)

An `InputError` carries a list of `Problem`s, so that a user sees every mistake at once.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace


def described(error: BaseException) -> str:
    """The text that a run folder records of `error`. A stranger's message may quote the data: only its kind is kept."""
    if isinstance(error, KeyboardInterrupt):
        by = "SIGTERM" if isinstance(error, Terminated) else "SIGINT"
        return f"Interrupted by {by}. Go on by the same command with --resume."
    return str(error) if isinstance(error, ExpungeError) else type(error).__name__


@dataclass(frozen=True)
class Problem:
    """One mistake in the user's input: where it is, what it is, and the way out.

    where:  file and key, e.g. ``recipe.yaml: objective.forget`` or ``forget.jsonl, row 3``
    reason: what is wrong, naming the value
    remedy: what to do about it, an imperative sentence
    """

    where: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.reason} {self.remedy}"


class ExpungeError(Exception):
    """Base of everything that expunge raises on purpose."""


class InputError(ExpungeError):
    """The user's input is wrong. `problems` lists all of their mistakes."""

    def __init__(self, problems: Problem | Iterable[Problem]):
        self.problems = [problems] if isinstance(problems, Problem) else list(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class RunFailed(ExpungeError):
    """The run could not go on. The message says why and what is left on disk."""


class Diverged(RunFailed):
    """Training diverged before its first epoch was over."""


class Terminated(KeyboardInterrupt):
    """The process was asked to end: by a scheduler, an operator, a machine that is shut down."""


@contextmanager
def placed_by(name: Callable[[str], str]) -> Iterator[None]:
    """Within the block, rename the places of problems: `name` takes the place as the code below knows it, such as an
    option's name, and returns what the user calls it, such as the recipe's key."""
    try:
        yield
    except InputError as error:
        places = (problem.where.partition(": ") for problem in error.problems)
        raise InputError(
            [
                replace(problem, where=f"{name(place)}{colon}{rest}")
                for problem, (place, colon, rest) in zip(error.problems, places, strict=True)
            ]
        ) from error


def nearest(name: str, known: Iterable[str]) -> str:
    """The remedy for an unknown name: the nearest known one, then all of them."""
    known = sorted(known)
    match = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"Did you mean {match[0]!r}? " if match else ""
    return f"{hint}Known: {', '.join(known)}."
