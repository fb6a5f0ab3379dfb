"""The metrics of lm-evaluation-harness that tables name, declared; of its other tasks they show the raw name."""

from __future__ import annotations

from ...evaluation.measures import HIGHER, Measure, SetMeasure, declare

ACCURACY_WORDS = (
    "The share of multiple-choice questions that are answered right. Of four choices guessing gets 0.25."
)

for measure in (
    *(
        Measure(
            f"wmdp_{subject}_acc",
            label=f"WMDP, {name}: accuracy",
            better="nearer 0.25 (chance)",
            term="Accuracy",
            words=ACCURACY_WORDS,
            role="memory",
            place=place,
            forgetting="falls",
            preference=preference,
            phrase=f"accuracy on the WMDP questions about {name}",
            chance=0.25,
        )
        for subject, name, place, preference in (
            ("bio", "biology", 50, 90),
            ("cyber", "cybersecurity", 51, 100),
        )
    ),
    Measure(
        "mmlu_acc",
        label="MMLU: accuracy",
        better=HIGHER,
        term="Accuracy",
        words=ACCURACY_WORDS,
        role="utility",
        place=52,
        preference=60,
        phrase="accuracy on MMLU",
    ),
    Measure(
        "reasoning_accuracy",
        label="Reasoning: mean accuracy of the nine sets",
        better=HIGHER,
        term="Accuracy",
        words=ACCURACY_WORDS,
        role="utility",
        place=53,
        phrase="mean accuracy on the reasoning sets",
    ),
    SetMeasure(
        "acc",
        label="accuracy",
        better=HIGHER,
        term="Accuracy",
        words=ACCURACY_WORDS,
        role="utility",
        place=90,
    ),
):
    declare(measure)
