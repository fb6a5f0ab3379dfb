"""The metrics that TOFU alone has, declared (see `tofu_metrics`)."""

from __future__ import annotations

from ...evaluation.measures import HIGHER, SETS, Measure, SetMeasure, declare
from ...evaluation.set_metrics import PROBABILITY

SETS.update(real_authors="Real authors", world_facts="World facts")

QUALITY_WORDS = (
    "Does the model answer like one that never saw the data? A statistical test compares the truth ratios of the two, "
    "and Forget Quality is its p-value (log₁₀ p is the same on another scale). From 0.05 on the test finds no "
    "difference; with few questions it overlooks more."
)
UTILITY_WORDS = (
    "How much is left of what the model should keep, from 0 to 1, over questions about the data that stay, real "
    "authors and the world. Teacher-forced: without the answers that the model writes itself."
)
CHOICE_WORDS = "How much of what the model gives to all the choices goes to the right one."

for measure in (
    Measure(
        "forget_quality",
        label="Forget Quality",
        unit="p-value",
        better="≥ 0.05: like the reference",
        term="Forget Quality",
        words=QUALITY_WORDS,
        role="quality",
        place=10,
        forgetting="rises",
    ),
    Measure(
        "forget_quality_log10",
        label="Forget Quality",
        unit="log₁₀ p",
        better="nearer 0 is better",
        term="Forget Quality",
        words=QUALITY_WORDS,
        role="quality",
        place=11,
        forgetting="rises",
    ),
    Measure(
        "forget_quality_ks",
        label="Forget Quality",
        unit="KS distance",
        better="nearer 0 is better",
        term="KS distance",
        words="How far apart the truth ratios of the two models lie in that test: 0 is alike, 1 is wholly apart.",
        role="quality",
        place=12,
        forgetting="falls",
    ),
    Measure(
        "model_utility",
        label="Model Utility",
        better=HIGHER,
        term="Model Utility",
        words=UTILITY_WORDS,
        role="utility",
        place=20,
        preference=10,
        phrase="model utility",
        generated=True,
    ),
    Measure(
        "model_utility_teacher_forced",
        label="Model Utility without ROUGE (teacher-forced)",
        better=HIGHER,
        term="Model Utility",
        words=UTILITY_WORDS,
        role="utility",
        place=21,
        preference=20,
        phrase="model utility without generated answers (teacher-forced)",
    ),
    SetMeasure(
        "truth_ratio",
        label="truth ratio",
        better=HIGHER,
        term="Truth ratio",
        words="Does the model prefer the right answer to wrong ones? On the forget set 1 is that it cannot tell them "
        "apart, and 0 that it can; on the other sets 1 is that it prefers the right one.",
        role="memory",
        place=120,
        forgetting="rises",
    ),
    *(
        PROBABILITY.of(name, term="– of real authors and facts", words=CHOICE_WORDS, place=101)
        for name in ("real_authors", "world_facts")
    ),
):
    declare(measure)
