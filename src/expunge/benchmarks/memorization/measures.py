"""The metrics that the memorization benchmark alone has, declared (see `MemorizationBenchmark`)."""

from __future__ import annotations

from ...evaluation.measures import HIGHER, LOWER, Measure, declare

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
declare(
    Measure(
        "forget_left",
        label="Forget set: part of the way to what was never seen that is left",
        better=LOWER,
        term="Part of the way that is left",
        words="How much of the way from the probability of the forget answers before to that of answers that were "
        "never seen (the upper end of its 95 % interval) is left, on the logarithm: 1 is all, 0 is none. The "
        "probabilities of long texts are all small, and what tells them is their ratio.",
        role="quality",
        place=39,
        forgetting="falls",
    )
)
declare(
    Measure(
        "retain_kept",
        label="Retain set: probability of the answer that is kept",
        better=HIGHER,
        term="Probability that is kept",
        words="The probability of every answer that should stay, but no more than before: what the model is surer of "
        "now does not make up for what it has lost. Before training it is the probability of the answer.",
        role="utility",
        place=95,
        group="retain",
    )
)
