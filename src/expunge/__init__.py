"""Make a language model forget, cheaply and in evidence.

`unlearn` is the whole job; `measure_importance`, `attach_adapter`, `export_adapter` and `losses` are its parts for a
model, data and a training loop of one's own. Nothing heavy is imported before it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ._version import __version__
from .errors import ExpungeError, InputError, Problem, RunFailed

if TYPE_CHECKING:
    from . import losses
    from .adapters.assistant import load_assisted
    from .adapters.attach import attach_adapter
    from .adapters.export import export_adapter
    from .importance import measure_importance
    from .importance.directions import input_directions
    from .recipe import Recipe, load_recipe
    from .run.result import Run
    from .run.unlearn import unlearn

_HOMES = {
    "Recipe": ".recipe",
    "Run": ".run.result",
    "attach_adapter": ".adapters.attach",
    "export_adapter": ".adapters.export",
    "input_directions": ".importance.directions",
    "load_assisted": ".adapters.assistant",
    "load_recipe": ".recipe",
    "measure_importance": ".importance",
    "unlearn": ".run.unlearn",
}

__all__ = [
    "ExpungeError",
    "InputError",
    "Problem",
    "Recipe",
    "Run",
    "RunFailed",
    "__version__",
    "attach_adapter",
    "export_adapter",
    "input_directions",
    "load_assisted",
    "load_recipe",
    "losses",
    "measure_importance",
    "unlearn",
]


def __getattr__(name: str) -> Any:
    if name == "losses":
        return import_module(".losses", __name__)
    if name not in _HOMES:
        raise AttributeError(f"module 'expunge' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
