"""The declarations of all metrics: those that any set can have, and those of the benchmarks.

Whoever asks for a metric by its name asks here, so that every one is declared by then.
"""

from __future__ import annotations

from ..evaluation import membership, set_metrics
from ..evaluation.measures import (
    AS_REFERENCE,
    AS_UNSEEN,
    Measure,
    declared,
    in_order,
    label,
    phrase,
    preferred,
)
from .dialogue import measures as dialogue
from .harness import measures as harness
from .memorization import measures as memorization
from .muse import measures as muse
from .tdec import measures as tdec
from .tofu import measures as tofu

#: The modules that declare.
DECLARING = (set_metrics, membership, memorization, tofu, muse, tdec, harness, dialogue)

__all__ = [
    "AS_REFERENCE",
    "AS_UNSEEN",
    "Measure",
    "declared",
    "in_order",
    "label",
    "phrase",
    "preferred",
]
