"""What there is to choose from, for `expunge methods`."""

from __future__ import annotations

from typing import Any

from ..importance import estimators
from ..methods import METHODS, Method
from ..objectives import PRESETS, forget_losses, retain_losses
from ..objectives.loss import LossRegistry
from ..recipe.methods import SETTINGS


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Kind → entries with name, formula, paper, and what else is known of them."""
    return {
        "methods (method)": [_method(name, method) for name, method in METHODS.items()],
        "forget losses (objective.forget)": _losses(forget_losses),
        "retain losses (objective.retain)": [
            {"name": "none", "formula": "0", "paper": "the forget loss alone"},
            *_losses(retain_losses),
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
        "initialisations (adapter.initialization)": [
            {"name": "default", "formula": "A Kaiming-uniform, B = 0", "paper": "LoRA (Hu et al. 2022)"},
            {"name": "pissa", "formula": "SVD of W", "paper": "PiSSA (Meng et al. 2024)"},
        ],
        "importance estimators (adapter.initialization)": [
            {
                "name": name,
                "formula": estimator.formula,
                "paper": estimator.paper,
                "storage": f"numbers a layer and set: {estimator.storage}",
            }
            for name, estimator in estimators.items()
        ],
    }


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


def _losses(losses: LossRegistry) -> list[dict[str, Any]]:
    return [
        {
            "name": loss.name,
            "formula": loss.formula,
            "paper": loss.paper,
            "hyperparameters": dict(loss.hyperparameters),
            "published": loss.published,
            "unit": loss.unit,
            "needs": sorted(loss.needs) + ([f"{loss.substitute}s"] if loss.substitute else []),
        }
        for loss in losses.values()
    ]
