"""The metrics that TDEC alone has, declared (see `TdecBenchmark`)."""

from __future__ import annotations

from ...evaluation.measures import HIGHER, SetMeasure, declare

EXTRACTION_LIKELIHOOD = SetMeasure(
    "extraction_likelihood",
    label="extraction likelihood (EL₁₀)",
    better=HIGHER,
    term="Extraction likelihood",
    words="The model is given the beginning of a text, of every length; the share of ten-token stretches of what it "
    "writes that are in the true rest.",
    role="memory",
    place=160,
    forgetting="falls",
    generated=True,
)
MEMORIZATION_ACCURACY = SetMeasure(
    "memorization_accuracy",
    label="memorisation accuracy (MA)",
    better=HIGHER,
    term="Memorisation accuracy",
    words="The share of a text's tokens (pieces of words) that are the model's first choice, each after the true ones "
    "before it.",
    role="memory",
    place=150,
    forgetting="falls",
)

for measure in (
    EXTRACTION_LIKELIHOOD,
    MEMORIZATION_ACCURACY,
    EXTRACTION_LIKELIHOOD.of("forget", preference=50, phrase="extraction likelihood", calibrated=True),
    MEMORIZATION_ACCURACY.of("forget", preference=40, phrase="memorisation accuracy", calibrated=True),
):
    declare(measure)
