"""Losses, and the objective that training minimises.

The recipe needs the losses' names and no torch: what loads it is imported when it is asked for.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .registry import forget_losses, retain_losses
from .weight import Weight

if TYPE_CHECKING:
    from .loss import Outputs
    from .objective import Objective, StepTotals, Term

_HOMES = {"Objective": ".objective", "Outputs": ".loss", "StepTotals": ".objective", "Term": ".objective"}

__all__ = ["Objective", "Outputs", "StepTotals", "Term", "Weight", "forget_losses", "retain_losses"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)
