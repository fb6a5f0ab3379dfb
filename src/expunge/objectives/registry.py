"""The losses by name. Packages add to them by entry points: `expunge.losses` and `expunge.retain_losses`.

Their modules load torch, so they are imported when a loss is looked up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..registry import Registry

if TYPE_CHECKING:
    from .loss import Loss

forget_losses: Registry[Loss] = Registry(
    "forget loss",
    "objective.forget",
    group="expunge.losses",
    of="expunge.objectives.loss:Loss",
    builtin={
        "undial": "expunge.objectives.distribution:adjusted_self_distillation",
        "ceu": "expunge.objectives.distribution:cross_entropy_unlearning",
        "whp": "expunge.objectives.distribution:generic_prediction",
        "ga": "expunge.objectives.gradient_ascent:gradient_ascent",
        "wga": "expunge.objectives.gradient_ascent:weighted_gradient_ascent",
        "satimp": "expunge.objectives.gradient_ascent:saturation_importance",
        "ihl": "expunge.objectives.inverted_hinge:inverted_hinge",
        "idk": "expunge.objectives.likelihood:refusal_likelihood",
        "pdu": "expunge.objectives.margin_flattening:margin_flattening",
        "npo": "expunge.objectives.preference:negative_preference",
        "simnpo": "expunge.objectives.preference:simple_negative_preference",
        "dpo": "expunge.objectives.preference:direct_preference",
        "altpo": "expunge.objectives.preference:alternate_preference",
        "rmu": "expunge.objectives.representation:misdirection",
    },
)
retain_losses: Registry[Loss] = Registry(
    "retain loss",
    "objective.retain",
    group="expunge.retain_losses",
    of="expunge.objectives.loss:Loss",
    builtin={
        "keep": "expunge.objectives.keeping:kept_as_it_was",
        "kl": "expunge.objectives.distribution:divergence_from_the_original",
        "nll": "expunge.objectives.likelihood:negative_log_likelihood",
        "rmu": "expunge.objectives.representation:held_representation",
    },
)
