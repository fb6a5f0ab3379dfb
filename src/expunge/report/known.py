"""Does the model know the forget set at all? Told before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping

from ..benchmarks.measures import declared, phrase, preferred
from ..evaluation.membership import told_apart
from ..evaluation.metric import Metric
from .evidence import SIGNIFICANCE, Evidence, lower, upper
from .quantities import count, number

#: Nothing to forget is clear within this much, in shares between 0 and 1, and of at least so many samples.
MARGIN, LEAST = 0.1, 8
#: The same by perplexities alone.
LEAST_LIKE = 30


def clearly_unknown(evidence: Evidence) -> str | None:
    """Say in words why the model before unlearning clearly never knew the forget set; None where that is not clear.

    By the reference, the holdout, or guessing, whichever is there first: every measure of memory is no higher than
    theirs, and the upper end of its 95 % interval lies less than `MARGIN` over them, with at least `LEAST` samples on
    either side; and neither Forget Quality nor membership inference tells the two apart. Without any of them, by
    the user's own retain set: see `_far_from_like_text`.
    """
    before, reference = evidence.before, evidence.reference
    if reference:
        unseen = {name: reference[name] for name in preferred("memory", before, reference)}
        told = "forget_quality" in before and not before["forget_quality"].value >= SIGNIFICANCE
        than = "a model that never saw it"
    else:
        names = preferred("memory", before)
        unseen = {name: limit for name in names if (limit := on_holdout(before, name) or _by_guessing(name))}
        told = told_apart(before) > 0
        held = any(on_holdout(before, name) for name in unseen)
        than = "of the holdout, which it never saw" if held else "guessing gives"
    if not unseen:
        return _far_from_like_text(evidence)
    if told or not all(_no_more(before[name], limit) for name, limit in unseen.items()):
        return None
    figures = "; ".join(
        f"{phrase(name)}: {number(before[name].value)} against {number(limit.value)}"
        for name, limit in unseen.items()
    )
    n = count(before[next(iter(unseen))].n)
    return f"the model recalls no more of the forget set than {than}, N = {n} ({figures})"


def _no_more(metric: Metric, unseen: Metric) -> bool:
    enough = min(metric.n, unseen.n) >= LEAST
    return enough and metric.value <= upper(unseen) and upper(metric) <= unseen.value + MARGIN


def _by_guessing(name: str) -> Metric | None:
    chance = by_chance(name)
    return None if chance is None else Metric(chance, LEAST)


def _far_from_like_text(evidence: Evidence) -> str | None:
    """The forget set surprises the model at least twice as much as the retain set, and it recalls next to nothing.

    Both perplexities' 95 % intervals, of at least `LEAST_LIKE` samples, are that far apart, and the probability, the
    extraction strength and the ROUGE of the forget answers are at most `MARGIN`. Texts that the model wrote itself
    are no like text.
    """
    before = evidence.before
    forget, retain = (before.get(f"{name}_perplexity") for name in ("forget", "retain"))
    if not forget or not retain or evidence.surrogate or min(forget.n, retain.n) < LEAST_LIKE:
        return None
    names = ("forget_probability", "forget_extraction_strength", "forget_rouge")
    if lower(forget) < 2 * upper(retain) or any(
        upper(before[name]) > MARGIN for name in names if name in before
    ):
        return None
    return (
        f"the forget set surprises the model far more than the retain set (perplexity {number(forget.value)} against "
        f"{number(retain.value)}, N = {count(forget.n)}), and it recalls next to nothing of it"
    )


def by_chance(name: str) -> float | None:
    measure = declared(name)
    return measure.chance if measure else None


def on_holdout(metrics: Mapping[str, Metric], name: str) -> Metric | None:
    """The same measure of the holdout."""
    return metrics.get(f"holdout_{name.removeprefix('forget_')}") if name.startswith("forget_") else None
