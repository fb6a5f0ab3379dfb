"""The space of a sweep: which keys of the recipe are searched, and the values that they may take."""

from __future__ import annotations

import itertools
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from optuna import Trial
from pydantic import ConfigDict, Field, ValidationError, model_validator

from ..errors import InputError, Problem
from ..recipe.loading import read_yaml
from ..settings import Section, misfit

#: Keys that a sweep gives each trial itself.
OWN = ("name", "output")
#: Corners of a space that are checked together, after every value has been by itself.
MOST_CORNERS = 1000
FORM = "Write a list of values, or {low: …, high: …} with log, step or int."


class Values(ABC):
    """The values that one key may take."""

    @abstractmethod
    def draw(self, key: str, trial: Trial) -> None:
        """Have the study draw the trial's parameter, unless it has one."""

    @property
    @abstractmethod
    def checked(self) -> Sequence[Any]:
        """The values that are tried as a recipe before anything runs: if they are possible, so are all."""

    @property
    @abstractmethod
    def changes_what_is_loaded(self) -> bool:
        """Whether a value may be one that the recipe allows and the data or the model do not."""

    def value(self, parameter: Any) -> Any:
        """The recipe's value of what optuna drew."""
        return parameter


class Choices(Values):
    """One of several values. optuna knows numbers and texts: what is neither is drawn by its JSON."""

    def __init__(self, values: Sequence[Any]):
        self.values = list(values)
        self._labels = [
            value if isinstance(value, bool | int | float | str) else json.dumps(value, default=str)
            for value in self.values
        ]

    def draw(self, key: str, trial: Trial) -> None:
        trial.suggest_categorical(key, self._labels)

    @property
    def checked(self) -> Sequence[Any]:
        return self.values

    @property
    def changes_what_is_loaded(self) -> bool:
        return True

    def value(self, parameter: Any) -> Any:
        return self.values[self._labels.index(parameter)]

    def parameter(self, value: Any) -> Any:
        """What optuna calls a value."""
        return self._labels[self.values.index(value)]


class Range(Section, Values):
    """A number from `low` to `high`, both included. log: drawn evenly on the logarithm"""

    model_config = ConfigDict(populate_by_name=False)

    low: float
    high: float
    log: bool = False
    step: float | None = Field(None, gt=0)
    whole: bool = Field(False, alias="int")

    @model_validator(mode="after")
    def _is_one(self) -> Range:
        if self.low >= self.high:
            raise ValueError("low is not less than high. Swap them, or set the value in the recipe")
        if self.log and (self.low <= 0 or self.step is not None):
            raise ValueError("log needs a low above 0, and no step")
        if self.step is not None and not _is_whole((self.high - self.low) / self.step):
            raise ValueError("high is not a number of steps above low. Change one of them")
        if self.whole and not all(_is_whole(each) for each in (self.low, self.high, self.step or 1)):
            raise ValueError("with int, low, high and step are whole numbers. Round them")
        return self

    def draw(self, key: str, trial: Trial) -> None:
        if self.whole:
            trial.suggest_int(key, int(self.low), int(self.high), log=self.log, step=int(self.step or 1))
        else:
            trial.suggest_float(key, self.low, self.high, log=self.log, step=self.step)

    @property
    def checked(self) -> Sequence[Any]:
        if self.whole:
            return int(self.low), int(self.high)
        # One from within, by which a key that takes whole numbers alone refuses the range.
        within = self.low + (self.step or (self.high - self.low) / math.pi)
        return self.low, self.high, within

    @property
    def changes_what_is_loaded(self) -> bool:
        return self.whole


def _is_whole(number: float) -> bool:
    return math.isclose(number, round(number), abs_tol=1e-9)


@dataclass(frozen=True)
class Space:
    """The searched keys, and what each may be.

    where:  what messages call the space
    given:  its content as JSON has it
    listed: the values of every trial, where the space is a list of trials in place of one of keys
    """

    where: str
    given: Any
    keys: Mapping[str, Values]
    listed: Sequence[Mapping[str, Any]] | None = None

    def drawn(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        """The recipe's values of a trial's parameters."""
        return {key: values.value(parameters[key]) for key, values in self.keys.items() if key in parameters}

    def parameters(self, number: int) -> dict[str, Any]:
        """The parameters of a listed trial, counted from 0."""
        assert self.listed is not None
        listed = self.listed[number]
        return {
            key: values.parameter(listed[key])
            for key, values in self.keys.items()
            if isinstance(values, Choices)
        }

    def corners(self) -> Iterator[dict[str, Any]]:
        """Every value that is checked by itself, then the corners, as far as they can be counted."""
        if self.listed is not None:
            yield from map(dict, self.listed)
            return
        yield from self._one_by_one(self.keys)
        ends = [[(key, value) for value in values.checked] for key, values in self.keys.items()]
        yield from map(dict, itertools.islice(itertools.product(*ends), MOST_CORNERS))

    def loaded(self) -> Iterator[dict[str, Any]]:
        """The values that are checked against the data and the model, of which there are few."""
        if self.listed is not None:
            yield from map(dict, self.listed)
            return
        yield from self._one_by_one(
            {key: values for key, values in self.keys.items() if values.changes_what_is_loaded}
        )

    def _one_by_one(self, varied: Mapping[str, Values]) -> Iterator[dict[str, Any]]:
        first = {key: values.checked[0] for key, values in self.keys.items()}
        yield first
        for key, values in varied.items():
            yield from ({**first, key: value} for value in values.checked[1:])


def read_space(source: str | Path | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> Space:
    """The space of a YAML file, or its content. Raises `InputError` with everything that is wrong with it."""
    where, content = "space", source
    if isinstance(source, str | Path):
        where = str(source)
        if not Path(source).is_file():
            raise InputError(
                Problem(where, "there is no such file.", "Name a YAML file: the keys that are searched.")
            )
        content = read_yaml(Path(source))
    given = json.loads(json.dumps(content, default=str))
    if isinstance(content, Mapping) and content:
        return Space(where, given, _read_keys(where, content))
    if isinstance(content, Sequence) and not isinstance(content, str) and content:
        return _read_list(where, given, content)
    raise InputError(
        Problem(where, "it holds no keys.", "Name at least one: training.learning_rate: {low: …, high: …}.")
    )


def _read_keys(where: str, content: Mapping[str, Any]) -> dict[str, Values]:
    keys: dict[str, Values] = {}
    problems = []
    for key, given in content.items():
        try:
            keys[key] = _read_values(f"{where}: {key}", key, given)
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return keys


def _read_values(where: str, key: str, given: Any) -> Values:
    if key in OWN:
        raise InputError(Problem(where, "each trial gets its own.", "Leave the key out; see --output."))
    if isinstance(given, list):
        if not given or any(value in given[:number] for number, value in enumerate(given)):
            raise InputError(Problem(where, "the list is empty or names a value twice.", "Correct it."))
        return Choices(given)
    if not isinstance(given, Mapping):
        raise InputError(Problem(where, f"{given!r} is no range and no list.", FORM))
    try:
        return Range(**given)
    except ValidationError as error:
        raise InputError([_range_problem(where, detail) for detail in error.errors()]) from None


def _range_problem(where: str, detail: Any) -> Problem:
    place = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        return Problem(where, f"a range has no {place!r}.", FORM)
    if detail["type"] == "missing":
        return Problem(where, f"{place!r} is missing.", FORM)
    return misfit(f"{where}{f', {place}' if place else ''}", detail)


def _read_list(where: str, given: Any, content: Sequence[Any]) -> Space:
    """A list of trials, each with a value of every key."""
    first = content[0]
    if not all(isinstance(trial, Mapping) and trial and trial.keys() == first.keys() for trial in content):
        raise InputError(
            Problem(where, "it is a list whose entries do not all name the same keys.",
                    "Give every trial a value of every key, or write one range or list of values a key.")
        )  # fmt: skip
    distinct = {
        key: [trial[key] for number, trial in enumerate(content)
              if trial[key] not in [other[key] for other in content[:number]]]
        for key in first
    }  # fmt: skip
    return Space(where, given, _read_keys(where, distinct), content)
