"""What training minimises by the recipe, and the pairs that it walks through. Nothing here loads the Trainer."""

from __future__ import annotations

from collections.abc import Sequence

from ..data.encoding import Example
from ..data.pairs import PairedDataset
from ..objectives import Objective, Weight
from ..objectives.settings import ObjectiveSettings


def build_objective(settings: ObjectiveSettings) -> Objective:
    """The objective that the recipe's section describes."""
    first, last = settings.retain_weights
    weight = Weight(
        first, settings.retain_bound, settings.retain_rate, rising=last if last != first else None
    )
    return Objective.named(settings.forget, settings.retain, weight, settings.hyperparameters)


def paired_dataset(
    objective: Objective,
    forget: Sequence[Example],
    retain: Sequence[Example],
    substitutes: Sequence[Example],
) -> PairedDataset:
    """The pairs that an epoch of this objective walks through."""
    if objective.walked == "retain":
        return PairedDataset(retain, [])
    kept = retain if objective.sees("retain") else []
    if objective.instead:
        return PairedDataset(substitutes, kept)
    return PairedDataset(forget, kept, substitutes if objective.substitute else ())
