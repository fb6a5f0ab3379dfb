"""What is measured of every item, whatever the attack."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any

from ..data.encoding import Encoder
from ..evaluation.generation import greedy_continuations
from ..evaluation.likelihood import answer_losses
from ..evaluation.rouge import rouge_scores
from .attack import Curve, Item, Measured, Subject, Variant

#: Longest generated answer, in tokens, and how much longer than the true one it may be.
MAX_NEW_TOKENS, BEYOND_TRUTH = 200, 16


def measured(
    model: Any, encoder: Encoder, items: Sequence[Item], answers: bool, description: str
) -> Measured:
    """`probability` and `strength` of every item's answer in one teacher-forced pass.

    answers: also `rouge`, for which the items that have a prompt are answered greedily; not where none has one
    """
    losses = answer_losses(
        model, [item.example for item in items], encoder.pad_token_id, description=description
    )
    values = {
        "probability": [loss.probability for loss in losses],
        "strength": [loss.strength for loss in losses],
    }
    asked = any(item.prompt is not None and item.truth for item in items)
    if answers and asked and hasattr(model, "generate"):  # put-together logits may have none who writes
        values["rouge"] = recall_of_answers(model, encoder, items)
    return values


def recall_of_answers(model: Any, encoder: Encoder, items: Sequence[Item]) -> list[float]:
    """ROUGE-L recall of the greedy answer to every item; NaN where there is no prompt."""
    asked = {place: item for place, item in enumerate(items) if item.prompt is not None and item.truth}
    longest = max((item.example.label_count for item in asked.values()), default=0) + BEYOND_TRUTH
    prompts = [item.prompt or [] for item in asked.values()]
    texts = greedy_continuations(model, encoder.tokenizer, prompts, min(MAX_NEW_TOKENS, longest))
    truths = [item.truth or "" for item in asked.values()]
    scores = rouge_scores(zip(truths, texts, strict=True))
    recall = {place: score.rougeL_recall for place, score in zip(asked, scores, strict=True)}
    return [recall.get(place, math.nan) for place in range(len(items))]


def attacked(variant: Variant, subject: Subject, description: str) -> Measured | Curve:
    """What a variant brings to light of its items; over its steps where it is made in steps."""
    items = items_of(variant, subject)
    # Answers are the slow part: at every step of a curve they are generated only where they count.
    answers = subject.lead == "rouge" if variant.curve else subject.answers
    measure = partial(
        measured, encoder=subject.encoder, items=items, answers=answers, description=description
    )
    if variant.curve:
        return variant.curve(measure)
    with variant.model() if variant.model else nullcontext(subject.model) as model:
        if variant.score:
            return {variant.measure: [float(value) for value in variant.score(model, items)]}
        return measure(model)


def items_of(variant: Variant, subject: Subject) -> Sequence[Item]:
    """The items that a variant asks, as it asks them."""
    if variant.items is not None:
        return variant.items
    return subject.forget if variant.rows is None else [subject.forget[row] for row in variant.rows]
