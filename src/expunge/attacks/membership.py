"""`membership`: can an outsider tell that the forgotten data was once in the training, by how sure the model is?

By the six scores of `expunge.evaluation.membership`. An item's value is the share of the holdout that it looks more
like a member than, ties counted half; the mean over the items is the AUC. A model that never saw either has one too,
which need not be 0.5, so a reference is compared with. Less than the reference's is a trace as well: what was forgotten
too hard stands out by being avoided (the Streisand effect).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from ..evaluation.gradient_norm import gradient_norms
from ..evaluation.likelihood import answer_losses
from ..evaluation.membership import SCORES, membership_scores
from ..models.answers import IGNORED
from .attack import Attack, Item, Subject, Variant

#: Scores that take a backward pass an item.
SLOW = ("gradient_norm",)
#: Texts of the holdout that it takes. The interval is that for this holdout alone: of two models that never saw either
#: set one is found guilty in 36 of 100 simulated cases with 5, in 24 with 10, in 3 with 20, in none with 40
#: (tests/attacks/test_membership_noise.py).
LEAST_HOLDOUT = 20
#: The score that is compared with that of a model that never saw the data.
CALIBRATED = "reference"


class Membership(Attack):
    title = "it is told from unseen text by how sure the model is"
    paper = "as `expunge.evaluation.membership` names them for each score"
    cost = "a pass over forget set and holdout; full: a backward pass for each item as well"
    two_sided = True

    def __init__(self) -> None:
        self._of_reference: list[Any] | None = None

    def unfit(self, subject: Subject) -> str | None:
        if not subject.holdout:
            return "there is no holdout, which it needs to compare with"
        if (count := len(subject.holdout)) < LEAST_HOLDOUT:
            return f"a holdout of {count} is too small to compare with: {LEAST_HOLDOUT} it takes"
        return None

    def variants(self, subject: Subject) -> Iterator[Variant]:
        scores = cache(partial(self._scores, subject))
        for name in SCORES:
            if name in SLOW and subject.budget == "cheap":
                continue
            if name == CALIBRATED and subject.reference is None:
                continue
            yield Variant(name, measure="auc", score=_shares_below(scores, name))

    def _scores(self, subject: Subject) -> tuple[list[dict[str, float]], list[dict[str, float]]]:
        """The scores of every item of the forget set and of the holdout."""
        items = [*subject.forget, *subject.holdout]
        losses = _losses(subject.model, subject, items)
        rows = [_of_item(subject, item, loss) for item, loss in zip(items, losses, strict=True)]
        if subject.budget == "full":
            norms = gradient_norms(
                subject.model, [item.example for item in items], subject.encoder.pad_token_id
            )
            rows = [{**row, "gradient_norm": -norm} for row, norm in zip(rows, norms, strict=True)]
        if subject.reference is not None:
            if self._of_reference is None:  # the same for every model that is asked
                known = subject.role == "reference"
                self._of_reference = losses if known else _losses(subject.reference(), subject, items)
            rows = [
                {**row, CALIBRATED: other.average_loss - loss.average_loss}
                for row, loss, other in zip(rows, losses, self._of_reference, strict=True)
            ]
        return rows[: len(subject.forget)], rows[len(subject.forget) :]


def _shares_below(scores: Callable[[], Any], name: str) -> Callable[[Any, Sequence[Item]], list[float]]:
    def score(_: Any, __: Sequence[Item]) -> list[float]:
        members, others = scores()
        return shares_below([row[name] for row in members], [row[name] for row in others])

    return score


def shares_below(members: Sequence[float], others: Sequence[float]) -> list[float]:
    """The share of `others` that lies below each member, ties counted half. Its mean is the AUC."""
    ordered = np.sort(np.asarray(others, dtype=np.float64))
    below, up_to = (np.searchsorted(ordered, members, side) for side in ("left", "right"))
    return ((below + up_to) / (2 * len(ordered))).tolist()


def _losses(model: Any, subject: Subject, items: Sequence[Item]) -> list[Any]:
    return answer_losses(
        model,
        [item.example for item in items],
        subject.encoder.pad_token_id,
        description="Membership inference",
        token_statistics=True,
    )


def _of_item(subject: Subject, item: Item, loss: Any) -> dict[str, float]:
    answer = [label for label in item.example.labels if label != IGNORED]
    text = subject.encoder.tokenizer.decode(answer, skip_special_tokens=True)
    return membership_scores(loss.statistics, text)
