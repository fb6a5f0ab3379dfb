"""pydantic checks the content of a JSON document against the annotations of the class that it is to become."""

from __future__ import annotations

import reprlib
from collections.abc import Callable
from functools import cache
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from ..errors import InputError, Problem

#: The most problems that are shown of one place.
SHOWN = 5
#: Pydantic's types of errors → plainer words than its own.
PLAINER = {
    "dataclass_type": "should be an object",
    "model_type": "should be an object",
    "too_short": "should not be empty",
}

Kind = TypeVar("Kind")
_adapter: Callable[[Any], TypeAdapter[Any]] = cache(TypeAdapter)


def checked(kind: type[Kind], value: Any, where: str, remedy: str) -> Kind:
    """`value` as a `kind`: a dataclass, whose further keys are ignored, or a list, tuple or dict of them.

    Raises InputError naming `where`, the key under it, and what stands there.
    """
    try:
        return _adapter(kind).validate_python(value)
    except ValidationError as error:
        raise InputError([_problem(where, detail, remedy) for detail in error.errors()[:SHOWN]]) from None


def _problem(where: str, detail: Any, remedy: str) -> Problem:
    key = ".".join(map(str, detail["loc"]))
    place = f"{where}{', ' if ': ' in where else ': '}{key}" if key else where
    if detail["type"] == "missing":
        return Problem(place, "it is missing.", remedy)
    said = detail["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not key and detail["type"] == "value_error":  # of the document as a whole, which is not repeated
        return Problem(where, f"it {said}.", remedy)
    wanted = PLAINER.get(detail["type"], said)
    return Problem(place, f"{reprlib.repr(detail['input'])} {wanted}.", remedy)
