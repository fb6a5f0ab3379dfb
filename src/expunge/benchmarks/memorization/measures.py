"""The metric that the memorization benchmark alone has, declared (see `MemorizationBenchmark`)."""

from __future__ import annotations

from ...evaluation.measures import LOWER, Measure, declare

declare(
    Measure(
        "forget_distance",
        label="Forget set: distance to what was never seen",
        better=LOWER,
        term="Distance to what was never seen",
        words="How far the probability of the forget answers is from that of answers that were never seen: those of "
        "the reference. Without one, how far it is under that of the holdout before training, or over that of the "
        "holdout now, whichever is more. 0 is as good as never seen; beyond it is a trace as well.",
        role="quality",
        place=40,
        forgetting="falls",
    )
)
