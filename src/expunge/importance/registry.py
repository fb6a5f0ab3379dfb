"""The importance estimators by name. Packages add to them by entry points: `expunge.estimators`.

Their modules load torch, so they are imported when an estimator is looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .estimator import Estimator

estimators: Registry[type[Estimator]] = Registry(
    "importance estimator",
    "adapter.initialization",
    group="expunge.estimators",
    of="expunge.importance.estimator:Estimator",
    builtin={
        "factored": "expunge.importance.factored:Factored",
        "fila": "expunge.importance.full_map:Fila",
        "variance": "expunge.importance.full_map:Variance",
        "expectation": "expunge.importance.full_map:Expectation",
        "absolute": "expunge.importance.full_map:Absolute",
        "vila": "expunge.importance.vila:Vila",
        "lora_fisher": "expunge.importance.vila:LoraFisher",
    },
)
