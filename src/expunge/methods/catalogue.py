"""The names that a recipe can choose from, for `expunge methods`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from ..adapters.settings import DIRECTIONS, Adapter
from ..importance import estimators
from ..objectives import forget_losses, retain_losses
from ..objectives.loss import Loss
from ..objectives.settings import PRESETS, ObjectiveSettings
from ..progress import say
from ..recipe.methods import SETTINGS, Unlearn
from ..registry import Registry
from . import METHODS, Method

T = TypeVar("T")

METHOD, FORGET = "methods (method)", "forget losses (objective.forget)"
RETAIN, START = "retain losses (objective.retain)", "initialisations (adapter.initialization)"
#: Read off the fields: an object of them would look its losses up, and fail with those that cannot be loaded.
DEFAULTS = {
    METHOD: Unlearn.model_fields["name"].default,
    FORGET: ObjectiveSettings.model_fields["forget"].default,
    RETAIN: ObjectiveSettings.model_fields["retain"].default,
    START: Adapter.model_fields["initialization"].default,
}


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Kind → entries with name, formula, paper, and further facts; `default` is what a recipe has that names none.

    Entries of other packages that cannot be imported are left out, and the user is told what is wrong with them.
    """
    forget, retain, measured = _known(forget_losses), _known(retain_losses), _known(estimators)
    kinds = {
        METHOD: [_method(name, method) for name, method in METHODS.items()],
        FORGET: _losses(forget),
        RETAIN: [
            {"name": "none", "formula": "0", "paper": "the forget loss alone"},
            *_losses(retain),
        ],
        "presets (objective)": [
            {
                "name": name,
                "formula": ", ".join(f"{key}: {value}" for key, value in preset.items()),
                "paper": "; ".join(
                    dict.fromkeys(
                        (forget_losses[preset["forget"]].paper, retain_losses[preset["retain"]].paper)
                    )
                ),
            }
            for name, preset in PRESETS.items()
        ],
        START: [
            {"name": "default", "formula": "A Kaiming-uniform, B = 0", "paper": "LoRA (Hu et al. 2022)"},
            {"name": "pissa", "formula": "SVD of W", "paper": "PiSSA (Meng et al. 2024)"},
            {
                "name": DIRECTIONS,
                "formula": "A: leading v of C_f v = λ (C_r + 0.01·mean·I) v, C = E[x xᵀ]; B = 0",
                "paper": "expunge",
            },
        ],
        "importance estimators (adapter.initialization)": [
            {
                "name": name,
                "formula": estimator.formula,
                "paper": estimator.paper,
                "storage": f"numbers a layer and set: {estimator.storage}",
            }
            for name, estimator in measured.items()
        ],
    }
    for kind, name in DEFAULTS.items():
        for entry in kinds[kind]:
            if entry["name"] == name:
                entry["default"] = True
    return kinds


def _known(registry: Registry[T]) -> dict[str, T]:
    known, problems = registry.loadable()
    for problem in problems:
        say(f"Left out: {problem}")
    return known


def _method(name: str, method: type[Method]) -> dict[str, Any]:
    fields = SETTINGS[name].model_fields
    return {
        "name": name,
        "formula": method.formula,
        "paper": method.paper,
        "hyperparameters": {
            key: field.default for key, field in fields.items() if isinstance(field.default, int | float)
        },
        "published": method.published,
        "needs": [key for key, field in fields.items() if field.is_required()],
    }


def _losses(losses: Mapping[str, Loss]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "formula": loss.formula,
            "paper": loss.paper,
            "hyperparameters": dict(loss.hyperparameters),
            "published": loss.published,
            "unit": loss.unit,
            "needs": sorted(loss.needs) + ([f"{loss.substitute}s"] if loss.substitute else []),
        }
        for name, loss in losses.items()
    ]
