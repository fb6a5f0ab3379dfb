"""Losses. A new one is one file here, imported below."""

from . import gradient_ascent, inverted_hinge, likelihood, negative_preference
from .loss import forget_losses, retain_losses
from .objective import PRESETS, Objective, StepTotals

__all__ = [
    "PRESETS",
    "Objective",
    "StepTotals",
    "forget_losses",
    "gradient_ascent",
    "inverted_hinge",
    "likelihood",
    "negative_preference",
    "retain_losses",
]
