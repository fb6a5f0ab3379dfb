"""The metrics that the dialogue sets alone have, declared (see `DialogueBenchmark`)."""

from __future__ import annotations

from ...evaluation.measures import HIGHER, Measure, SetMeasure, declare

F1_WORDS = "How many words the model's reply and the person's have in common: 1 is all of them, 0 is none."

for measure in (
    Measure(
        "dialogue_f1",
        label="Dialogue: mean F1 of the sets",
        better=HIGHER,
        term="Unigram F1",
        words=F1_WORDS,
        role="utility",
        place=60,
        generated=True,
        phrase="mean F1 of the replies in the dialogue sets",
    ),
    SetMeasure(
        "f1",
        label="F1 of the replies",
        better=HIGHER,
        term="Unigram F1",
        words=F1_WORDS,
        role="utility",
        place=200,
        generated=True,
    ),
):
    declare(measure)
