"""Which parameters carry the forget set.

The recipe needs the estimators' names and no torch: what loads it is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .registry import estimators

if TYPE_CHECKING:
    from .measure import measure_importance

__all__ = ["estimators", "measure_importance"]


def __getattr__(name: str) -> Any:
    if name != "measure_importance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(".measure", __name__).measure_importance
