"""The attacks by name. Packages add to them by entry points: `expunge.attacks`.

Their modules load torch, so they are imported when an attack is looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .attack import Attack

attacks: Registry[type[Attack]] = Registry(
    "attack",
    "NAME",
    group="expunge.attacks",
    of="expunge.attacks.attack:Attack",
    builtin={
        "quantise": "expunge.attacks.quantise:Quantise",
    },
)
