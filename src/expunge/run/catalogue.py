"""What there is to choose from, for `expunge methods`."""

from __future__ import annotations

from typing import Any

from ..importance import estimators
from ..objectives import PRESETS, forget_losses, retain_losses
from ..objectives.loss import LossRegistry


def catalogue() -> dict[str, list[dict[str, Any]]]:
    """Kind → entries with name, formula, paper, and what else is known of them."""
    return {
        "forget losses (objective.forget)": _losses(forget_losses),
        "retain losses (objective.retain)": [
            {"name": "none", "formula": "0", "paper": "the forget loss alone"},
            *_losses(retain_losses),
        ],
        "presets (objective)": [
            {
                "name": name,
                "formula": f"forget: {forget}, retain: {retain}",
                "paper": forget_losses[forget].paper,
            }
            for name, (forget, retain) in PRESETS.items()
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


def _losses(losses: LossRegistry) -> list[dict[str, Any]]:
    return [
        {
            "name": loss.name,
            "formula": loss.formula,
            "paper": loss.paper,
            "hyperparameters": loss.hyperparameters,
            "unit": loss.unit,
            "needs_reference": loss.reference,
        }
        for loss in losses.values()
    ]
