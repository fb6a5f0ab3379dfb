"""Reading files that may be missing, damaged or cut short: a sentence that names the file in place of a traceback."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from yaml import YAMLError

from .errors import InputError, Problem
from .storage import read_json

#: The way out where a file of a run is broken: nothing else can tell what stood in it.
RESTORE = "Restore the file, or run the recipe again with another --output."

Content = TypeVar("Content")


def read_intact(reader: Callable[[Path], Content], file: Path, remedy: str = RESTORE) -> Content:
    """What `reader` makes of `file`.

    Raises `InputError` where the file is missing, is not to be read, or is no whole text, JSON, YAML or safetensors.
    """
    try:
        return reader(file)
    except FileNotFoundError:
        raise broken(file, "it is missing", remedy) from None
    except (OSError, ValueError, YAMLError, SafetensorError) as error:  # JSON's and Unicode's are ValueErrors
        reason = getattr(error, "strerror", None) or str(error)
        raise broken(file, f"it cannot be read: {' '.join(reason.split()).rstrip('.')}", remedy) from None


def read_object(
    file: Path, what: str, keys: Sequence[str], remedy: str = RESTORE, *, schema: str | None = None
) -> dict[str, Any]:
    """The JSON object in `file`.

    what:   what it is called where it is something else
    keys:   what it has at least
    schema: the value of its key `schema`, where it has one

    Raises `InputError` as `read_intact` does, and where it is something else or lacks a key.
    """
    content = read_intact(read_json, file, remedy)
    if not isinstance(content, dict) or (schema is not None and content.get("schema") != schema):
        raise broken(file, f"it is not {what}{f' ({schema})' if schema else ''}", remedy)
    missing = [key for key in keys if key not in content]
    if missing:
        raise broken(file, f"it lacks {', '.join(missing)}", remedy)
    return content


def broken(file: Path, reason: str, remedy: str = RESTORE) -> InputError:
    """The error that names `file`; `reason` has no full stop."""
    return InputError(Problem(str(file), f"{reason}.", remedy))
