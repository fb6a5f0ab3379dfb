"""Membership inference: can it be told which texts a model was trained on?

Six attacks give every sample a score that is higher for what looks like a member; the area under the ROC curve (AUC)
says how well the score tells members (the forget set) from samples that the model never saw (a holdout). 1: every
member is told; 0.5: as if they had never been seen; below: the members stand out by being avoided.

    loss                −average loss                                                  (Yeom et al. 2018)
    zlib                −average loss / bytes of the text compressed by zlib           (Carlini et al. 2021)
    min_k               mean log p of the K % least probable tokens                    (Shi et al. 2024)
    min_k_plus_plus     the same of (log p − μ) / σ (see `TokenStatistics`)            (Zhang et al. 2024)
    gradient_norm       −‖gradient of the average loss‖₂ (see `gradient_norms`)        (Wang et al. 2024)
    reference           average loss of a reference model − average loss               (Carlini et al. 2021)
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import scipy  # its parts are loaded when they are first used

from ..errors import InputError, Problem
from .log import EvaluationLog, QuestionRecord
from .measures import AS_REFERENCE, Measure, declare
from .metric import Metric, interval

if TYPE_CHECKING:  # it loads torch, and figures are computed from logs without
    from .likelihood import TokenStatistics

#: K: the share of the tokens that `min_k` and `min_k_plus_plus` look at (MUSE: Min-40 %).
LOWEST_SHARE = 0.4
#: The attacks whose scores a log may hold. `reference` compares two logs; those of other tools hold its scores.
SCORES = ("loss", "zlib", "min_k", "min_k_plus_plus", "gradient_norm", "reference")
#: The attack that PrivLeak rests on, and by which two sets count as told apart.
PRIVACY_ATTACK = "min_k"
#: The AUC of guessing; samples on both sides together from which on two sets can be told apart at all: the bootstrap of
#: fewer is too sure of itself (of 4 and 4 in perfect order Mann and Whitney give p = 0.03, of 3 and 3 p = 0.1).
GUESSED, LEAST_TOLD = 0.5, 8

declare(
    Measure(
        "privacy_leakage",
        label="Privacy leakage in % (PrivLeak)",
        better="nearer 0 is better",
        term="Privacy leakage",
        words="Membership inference beside what it would be for a model that never saw the data: 0 is no difference, "
        "−100 is remembered, above 0 the data stand out by being avoided.",
        role="privacy",
        place=40,
        forgetting="rises",
    )
)
for place, (attack, said, better) in enumerate(
    (
        ("loss", "loss", AS_REFERENCE),
        ("zlib", "zlib", AS_REFERENCE),
        ("min_k", "Min-K%", AS_REFERENCE),
        ("min_k_plus_plus", "Min-K%++", AS_REFERENCE),
        ("gradient_norm", "gradient norm", AS_REFERENCE),
        ("reference", "reference", "nearer 0.5 is better"),
    ),
    start=41,
):
    declare(
        Measure(
            f"membership_inference_{attack}",
            label=f"Membership inference by {said}",
            unit="AUC",
            better=better,
            term="Membership inference (AUC)",
            words="How well an outsider can tell, from how sure the model is, which texts it was trained on: 0.5 is "
            "tossing a coin, 1 is always. Well below 0.5 they stand out by being avoided, which is a trace too.",
            role="privacy",
            place=place,
            forgetting="falls",
        )
    )


def membership_scores(statistics: TokenStatistics, text: str) -> dict[str, float]:
    """The scores of those attacks that need one teacher-forced pass, by name.

    text: the labelled part of the sample, whose compressed size `zlib` divides by
    """
    average_loss = -float(statistics.log_probability.mean(dtype=np.float64))
    return {
        "loss": -average_loss,
        "zlib": -average_loss / len(zlib.compress(text.encode())),
        "min_k": lowest_mean(statistics.log_probability),
        "min_k_plus_plus": lowest_mean(statistics.standardised),
    }


def lowest_mean(values: np.ndarray, share: float = LOWEST_SHARE) -> float:
    """The mean of the lowest ⌊share · T⌋ of `values`, shape (T,), but of one at least."""
    count = max(1, int(len(values) * share))
    return float(np.partition(values, count - 1)[:count].mean(dtype=np.float64))


def auc(members: Sequence[float], others: Sequence[float]) -> Metric:
    """The probability that a member's score exceeds another's, ties counted half (the Mann-Whitney U, normalised).

    n is the number of both; the interval is that of the bootstrap over members and over others.
    """
    value = float(_auc(np.asarray(members), np.asarray(others)))
    return Metric(value, len(members) + len(others), *interval(_auc, members, others))


def _auc(members: np.ndarray, others: np.ndarray, axis: int = -1) -> np.ndarray:
    n = members.shape[axis]
    ranks = scipy.stats.rankdata(np.concatenate([members, others], axis=axis), axis=axis)
    above = np.take(ranks, range(n), axis=axis).sum(axis) - n * (n + 1) / 2
    return above / (n * others.shape[axis])


def privacy_leakage(area: Metric, reference: Metric | None) -> Metric | None:
    """PrivLeak (Shi et al. 2025) in per cent: (s − s_ref) / s_ref · 100, where s is 1 − AUC.

    area:      AUC of Min-K% telling the forget set from the holdout
    reference: that of a model that never saw the forget set; None for an AUC of 0.5

    Near −100 the model remembers, at 0 it is like the reference, above it avoids what it was to forget. The interval
    is that of `area` alone. None where the reference's s is 0, as nothing can be divided by that.
    """
    unlike = 1.0 - (0.5 if reference is None else reference.value)
    if unlike == 0:
        return None

    def leakage(value: float | None) -> float | None:
        return None if value is None else (1.0 - value - unlike) / unlike * 100

    value = leakage(area.value)
    assert value is not None
    return Metric(value, area.n, leakage(area.high), leakage(area.low))


def membership_metrics(
    log: EvaluationLog, reference: EvaluationLog | None, members: str, others: str
) -> dict[str, Metric]:
    """`membership_inference_{attack}`, the AUC of every attack that the logs hold scores for, and `privacy_leakage`.

    members, others: the names of the two sets in the logs
    Raises InputError for a reference that was not measured on the same samples.
    """
    sides = (log.sets[members], log.sets[others])
    theirs = None if reference is None else _same_samples(log, reference, members, others)
    areas = {
        attack: _area(sides, attack)
        for attack in SCORES
        if all(attack in record.scores for side in sides for record in side)
    }
    # A log of another tool may hold scores without likelihoods, which are what is compared.
    if theirs is not None and all(record.answer.tokens for side in (*sides, *theirs) for record in side):
        areas["reference"] = auc(*map(_calibrated, sides, theirs))
    metrics = {f"membership_inference_{attack}": area for attack, area in areas.items()}
    leakage = privacy_leakage(
        areas[PRIVACY_ATTACK], None if theirs is None else _area(theirs, PRIVACY_ATTACK)
    )
    return {**metrics, "privacy_leakage": leakage} if leakage else metrics


def told_apart(metrics: Mapping[str, Metric]) -> float:
    """How clearly the members are told from the others, as ones that were seen: what the lower end of the 95 % interval
    of the AUC lies over a guess, from 0 to 0.5. 0 where it does not, or nothing says so."""
    area = metrics.get(f"membership_inference_{PRIVACY_ATTACK}")
    if area is None or area.n < LEAST_TOLD:
        return 0.0
    low = area.value if area.low is None else area.low  # of one sample there is no interval
    return max(low - GUESSED, 0.0)


def _area(sides: tuple[Sequence[QuestionRecord], Sequence[QuestionRecord]], attack: str) -> Metric:
    members, others = ([record.scores[attack] for record in side] for side in sides)
    return auc(members, others)


def _same_samples(
    log: EvaluationLog, reference: EvaluationLog, members: str, others: str
) -> tuple[list[QuestionRecord], list[QuestionRecord]]:
    sides = (reference.sets.get(members, []), reference.sets.get(others, []))
    wanted = tuple(len(log.sets[name]) for name in (members, others))
    held = tuple(len(side) for side in sides)
    if held != wanted or any(PRIVACY_ATTACK not in record.scores for side in sides for record in side):
        raise InputError(
            Problem("membership inference",
                    f"{log.label} holds scores of {wanted[0]} and {wanted[1]} samples ({members}, {others}), the "
                    f"reference {reference.label} of {held[0]} and {held[1]}, or none of {PRIVACY_ATTACK}.",
                    "Evaluate both models on the same forget set and holdout.")
        )  # fmt: skip
    return sides


def _calibrated(ours: Sequence[QuestionRecord], theirs: Sequence[QuestionRecord]) -> list[float]:
    return [
        other.answer.average_loss - record.answer.average_loss
        for record, other in zip(ours, theirs, strict=True)
    ]
