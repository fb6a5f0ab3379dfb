"""The metrics that MUSE alone has, declared (see `muse_metrics`)."""

from __future__ import annotations

from ...evaluation.measures import AS_REFERENCE, HIGHER, SETS, Measure, declare
from ...evaluation.set_metrics import PROBABILITY

SETS.update(
    forget_verbatim="Forget passages",
    forget_knowledge="Forget questions",
    retain_knowledge="Retain questions",
    forget_texts="Forget texts",
    holdout_texts="Holdout texts",
)

KNOWLEDGE_WORDS = "The model is asked about the texts; how much of the right answers does it write?"
RECALL_WORDS = (
    "The same, but a long answer is not held against the model: how much of the right answer is in it?"
)

for measure in (
    Measure(
        "forget_verbatim_memorization",
        label="Verbatim memorisation (VerbMem)",
        better=AS_REFERENCE,
        term="Verbatim memorisation",
        words="The model is given the beginning of a passage; how much of the true continuation does it write?",
        role="memory",
        place=30,
        forgetting="falls",
        preference=70,
        phrase="verbatim memorisation",
        generated=True,
    ),
    Measure(
        "forget_knowledge_memorization",
        label="Forget set: knowledge memorisation (KnowMem)",
        better=AS_REFERENCE,
        term="Knowledge memorisation",
        words=KNOWLEDGE_WORDS,
        role="memory",
        place=31,
        forgetting="falls",
        preference=80,
        phrase="knowledge memorisation",
        generated=True,
    ),
    Measure(
        "retain_knowledge_memorization",
        label="Retain set: knowledge memorisation (KnowMem)",
        better=HIGHER,
        term="Knowledge memorisation",
        words=KNOWLEDGE_WORDS,
        role="utility",
        place=32,
        preference=40,
        phrase="knowledge memorisation of the retain set",
        generated=True,
    ),
    Measure(
        "forget_knowledge_recall",
        label="Forget set: knowledge recall",
        better=AS_REFERENCE,
        term="Knowledge recall",
        words=RECALL_WORDS,
        role="memory",
        place=33,
        forgetting="falls",
        generated=True,
    ),
    Measure(
        "retain_knowledge_recall",
        label="Retain set: knowledge recall",
        better=HIGHER,
        term="Knowledge recall",
        words=RECALL_WORDS,
        role="utility",
        place=34,
        generated=True,
    ),
    PROBABILITY.of(
        "retain_knowledge",
        preference=50,
        phrase="mean probability of the answers about the retain set",
    ),
):
    declare(measure)
