"""The base of every section of a recipe, and the types of its values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Tag,
    ValidationInfo,
    model_validator,
)

from .errors import Problem, nearest


class Section(BaseModel):
    """A part of a recipe. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, value: Any) -> Any:
        given = value if isinstance(value, dict) else {}
        for name, field in cls.model_fields.items():
            if isinstance(given.get(name), bool) and field.annotation is not bool:
                raise ValueError(f"{name} cannot be {str(given[name]).lower()}")
        return value


def _home(value: Any) -> Any:
    return str(Path(value).expanduser()) if isinstance(value, str) and value.startswith("~") else value


#: A file, a folder or a hub id; `~` is the user's home.
Location = Annotated[str, BeforeValidator(_home)]


Value = TypeVar("Value")
#: A value, or `auto`: it follows from the rest of the recipe. What is neither is refused as a value.
AutoOr = Annotated[
    Annotated[Value, Tag("value")] | Annotated[Literal["auto"], Tag("auto")],
    Discriminator(lambda given: "auto" if given == "auto" else "value"),
]


def misfit(where: str, detail: Any) -> Problem:
    """The `Problem` that describes a value which pydantic refuses; `detail` is one of its `errors()`."""
    if detail["type"] == "value_error":
        reason, _, remedy = str(detail["ctx"]["error"]).partition(". ")
        return Problem(where, reason.rstrip(".") + ".", remedy or "Correct the value.")
    message = detail["msg"][0].lower() + detail["msg"][1:]
    return Problem(where, f"the value {detail.get('input')!r} does not fit: {message}.", "Correct the value.")


#: Validation context of a recipe that a run has written: the run has checked it, and it is only to be shown.
WRITTEN = {"written": True}


def is_written(info: ValidationInfo) -> bool:
    """Whether names need not be looked up, which would load torch and ask for the packages that the run had."""
    return bool(info.context and info.context.get("written"))


def one_of(value: str, names: set[str], kind: str) -> str:
    """`value`. Raises `ValueError` with the nearest name where it is not among `names`."""
    if value not in names:
        raise ValueError(f"there is no {kind} {value!r}. {nearest(value, names)}")
    return value
