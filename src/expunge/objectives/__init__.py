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
from .objective import PRESETS, Objective, StepTotals, Term
from .weight import Weight

__all__ = [
    "PRESETS",
    "Objective",
    "Outputs",
    "StepTotals",
    "Term",
    "Weight",
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
