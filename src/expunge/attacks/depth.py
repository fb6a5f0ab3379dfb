"""`depth`: how deep in the layers forgetting goes, or whether only the last ones hide the answer.

The original model reads the answer out of another one's hidden states (see `expunge.attacks.layers`). By activation
patching it goes on from them, and 1 − UDS is the share of the knowledge that it finds there, 0 for the reference and 1
for the original itself. By the logit lens its output embedding reads them at once, at the layer where it reads most.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from ..data.encoding import Example
from ..evaluation.likelihood import answer_losses
from .attack import Attack, Item, Subject, Variant
from .layers import lens_log_probability, patched_log_probability, unlearning_depth


class Depth(Attack):
    title = "the original model reads the answer out of the hidden states"
    paper = (
        "Lee et al. 2026 (unlearning depth score, by activation patching); nostalgebraist 2020 (logit lens)"
    )
    cost = "two passes of the original over the forget questions for every layer, for each model that is compared"
    budget = "full"
    counts = False  # whoever has the original need not read with it

    def __init__(self) -> None:
        self._lost_by_reference: np.ndarray | None = None

    def unfit(self, subject: Subject) -> str | None:
        return "the original model, which reads, is not there" if subject.original is None else None

    def variants(self, subject: Subject) -> Iterator[Variant]:
        """Patching needs a reference, which says which layers hold the knowledge; the lens does not."""
        if subject.reference is not None:
            yield Variant("activation patching", score=partial(self._found, subject), measure="one_minus_uds")
        yield Variant("logit lens", score=partial(_read_best, subject), measure="lens_probability")

    def _found(self, subject: Subject, model: Any, items: Sequence[Item]) -> list[float]:
        """1 − UDS of every item; NaN where the original knows no more of it than the reference."""
        assert subject.original is not None
        assert subject.reference is not None
        original, examples = subject.original(), [item.example for item in items]
        if self._lost_by_reference is None:  # the same for every model that is asked
            self._lost_by_reference = _lost(
                original, subject.reference(), examples, subject.encoder.pad_token_id
            )
        lost = _lost(original, model, examples, subject.encoder.pad_token_id)
        return (1 - unlearning_depth(lost, self._lost_by_reference)).tolist()


def _lost(original: Any, source: Any, examples: Sequence[Example], pad_token_id: int) -> np.ndarray:
    """Δ_l (items, layers): what the source's states after block l cost the original, in nats a token."""
    own = [-loss.average_loss for loss in answer_losses(original, examples, pad_token_id)]
    return np.array(own)[:, None] - patched_log_probability(original, source, examples, pad_token_id)


def _read_best(subject: Subject, model: Any, items: Sequence[Item]) -> list[float]:
    """The probability of every answer by the logit lens, at the layer where it is highest."""
    assert subject.original is not None
    examples = [item.example for item in items]
    read = lens_log_probability(subject.original(), model, examples, subject.encoder.pad_token_id)
    return np.exp(read.max(axis=1)).tolist()
