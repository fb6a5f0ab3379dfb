"""Losses. A new one is one file here, imported below."""

from . import (
    distribution,
    gradient_ascent,
    inverted_hinge,
    likelihood,
    margin_flattening,
    preference,
    representation,
)
from .loss import Outputs, forget_losses, retain_losses
from .objective import PRESETS, Objective, StepTotals
from .retain_weight import RetainWeight

__all__ = [
    "PRESETS",
    "Objective",
    "Outputs",
    "RetainWeight",
    "StepTotals",
    "distribution",
    "forget_losses",
    "gradient_ascent",
    "inverted_hinge",
    "likelihood",
    "margin_flattening",
    "preference",
    "representation",
    "retain_losses",
]
