"""Is the forget set forgotten? Measured against a model that never saw it.

- *Forgotten*: Forget Quality (TOFU) p ≥ 0.05, and the answers' probability has gone at least half of the way
  from the model before to the reference. Without Forget Quality (own data): every measure of memory is within
  the reference's 95 % interval or below it. Without a reference the holdout takes its place: what the model recalled
  before, or recalls now, of like material that it never saw, whichever is more; then membership inference must not tell
  the two apart either.
- *Partly forgotten*: short of that, but at least half of the way to the reference (by the KS distance, or by
  the measure of memory that has gone the smallest part of it). Everything below is *not forgotten*.
- *Overshot*: p < 0.05 because truth ratios lie beyond the reference's, and none lie short of it.
- Where the loss aims at answers (`idk`, `dpo`, `altpo`), by what the model writes itself alone: its measures of memory
  count as above, and Forget Quality, which rests on probabilities, does not.
- *Nothing to forget*: by the same measure the model before was already like the reference. Without one: every
  measure of memory was no higher than on the holdout, which the model never saw, and membership inference did not tell
  the two apart; or the answers were no better than guesses.
  A run ends there before anything is trained where that is clear (`clearly_unknown`).
- Without reference and holdout nothing can be called forgotten: the answers' probability fell to half or less, or not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..benchmarks.measures import declared, phrase, preferred
from ..evaluation.membership import PRIVACY_ATTACK, told_apart
from ..evaluation.metric import Metric
from .evidence import HALF_WAY, SIGNIFICANCE, Evidence, Finding, Forgetting, Tone, lower, upper
from .known import LEAST, MARGIN, by_chance, clearly_unknown, on_holdout
from .quantities import count, number


@dataclass(frozen=True)
class Unseen:
    """What is recalled of what was never seen: by the reference of the forget set, or by the model of its holdout.

    metrics:  what the model may recall. Of a holdout what it recalled before or recalls now, whichever is more:
              training on what should stay can make all of the kind likelier, seen or not
    before:   what it recalled before
    held_out: whether it is the holdout's
    """

    metrics: Mapping[str, Metric]
    before: Mapping[str, Metric]
    held_out: bool

    @property
    def than(self) -> str:
        return "of the holdout, which it never saw" if self.held_out else "a model that never saw it"

    @property
    def side(self) -> str:
        return "of the holdout" if self.held_out else "for the reference"


def unseen(evidence: Evidence) -> Unseen:
    """The reference; without one the holdout, of at least `LEAST` samples; empty without either.

    Nothing is generated for a holdout, so it tells nothing where the answers count that the model writes.
    """
    if evidence.reference or _by_answers(evidence):
        return Unseen(evidence.reference, evidence.reference, held_out=False)
    names = preferred("memory", evidence.before)
    before, now = (_enough_held_out(side, names) for side in (evidence.before, evidence.after))
    limits = {name: max(of, now.get(name, of), key=lambda one: one.value) for name, of in before.items()}
    return Unseen(limits, before, held_out=True)


def _enough_held_out(metrics: Mapping[str, Metric], names: Sequence[str]) -> dict[str, Metric]:
    held = {name: on_holdout(metrics, name) for name in names}
    return {name: of for name, of in held.items() if of and of.n >= LEAST}


def judge_forgetting(evidence: Evidence) -> tuple[Forgetting, Finding]:
    before, after = evidence.before, evidence.after
    if evidence.ended == "nothing to forget":
        return _ended_before_training(evidence)
    if evidence.ended == "nothing was forgotten":
        return _forgot_nothing(evidence)
    if not before or not ("forget_quality" in after or preferred("memory", after)):
        text = (
            "There are no figures from before and after unlearning, so nothing can be said of the forget set."
        )
        return Forgetting.UNKNOWN, Finding(Tone.OPEN, "Not measured", text)
    if "forget_quality" in before and "forget_quality" in after and not _by_answers(evidence):
        if not math.isfinite(after["forget_quality"].value):
            text = "Forget Quality is not a number: the model gives no finite probabilities any more."
            return Forgetting.UNKNOWN, Finding(Tone.BAD, "Not measured", text)
        return _by_forget_quality(evidence)
    compared = unseen(evidence)
    if memory_measures(evidence, before, after, compared.metrics):
        return _by_memory(evidence, compared)
    return _without_reference(evidence)


def _by_forget_quality(evidence: Evidence) -> tuple[Forgetting, Finding]:
    before, after = evidence.before, evidence.after
    p = after["forget_quality"]
    way = _way(evidence, "forget_probability", evidence.reference)
    answers_fell = way is None or way >= HALF_WAY
    test = f"(Kolmogorov–Smirnov test on the truth ratios: p = {number(p.value)}"
    n = f"N = {count(p.n)}"
    # The critical distance of two samples of N at the 5 % level (asymptotically 1.358 √(2/N)).
    missed = number(1.358 * math.sqrt(2 / p.n), 2)
    resolution = f"With {n} it can miss a difference below a KS distance of about {missed}."
    if p.value >= SIGNIFICANCE:
        if before["forget_quality"].value >= SIGNIFICANCE:
            compared = unseen(evidence)
            if any(_recalled(evidence, name, compared) for name in memory_measures(evidence, after, before)):
                return _by_memory(evidence, compared)  # so few questions that the test misses what they show
            text = (
                "Already before unlearning the test could not tell the model from one that never saw the "
                f"data, {n} (p = {number(before['forget_quality'].value)} before, {number(p.value)} after), "
                "so this run shows no forgetting. Check that the base model was trained on the forget set. "
                f"{resolution}"
            )
            return Forgetting.NEVER_KNOWN, Finding(Tone.CAUTION, "Nothing to forget", text)
        if not answers_fell:
            text = (
                f"The test cannot tell the unlearned model from a model that never saw the data, {n} "
                f"{test}), but the right answers are still probable: "
                f"{_three(evidence, 'forget_probability', unseen(evidence))}. The two measures disagree, so the "
                "stricter one counts."
            )
            return Forgetting.PARTLY, Finding(Tone.CAUTION, "Partly forgotten", text)
        text = (
            f"The test cannot tell the unlearned model from a model that never saw the data, {n} {test}; "
            f"below {SIGNIFICANCE} would be a difference). {resolution}"
        )
        return Forgetting.FORGOTTEN, Finding(Tone.GOOD, "Forgotten", text)
    told = (
        "The test tells the unlearned model from a model that never saw the data, "
        f"{n} {test}, below {SIGNIFICANCE})"
    )
    shift = evidence.shift
    if answers_fell and shift and shift.beyond < SIGNIFICANCE <= shift.short:
        text = (
            f"{told}, and on the far side: the model avoids the right answers more than a model that never "
            "saw them. It recalls no more than that model, but the difference can itself be noticed."
        )
        return Forgetting.OVERSHOT, Finding(Tone.CAUTION, "Pushed past forgetting", text)
    share = _ks_way(before, after)
    if share is None:
        return Forgetting.NOT, Finding(Tone.BAD, "Not forgotten", f"{told}.")
    distance = (
        f"The KS distance to that model went from {number(before['forget_quality_ks'].value)} to "
        f"{number(after['forget_quality_ks'].value)}, {_part(share)}"
    )
    if share >= HALF_WAY:
        text = f"{told}, but it is much closer to it than before. {distance}."
        return Forgetting.PARTLY, Finding(Tone.CAUTION, "Partly forgotten", text)
    text = f"{told}. {distance}; half of the way would count as partly forgotten."
    return Forgetting.NOT, Finding(Tone.BAD, "Not forgotten", text)


def _by_memory(evidence: Evidence, compared: Unseen) -> tuple[Forgetting, Finding]:
    before, after, limits = evidence.before, evidence.after, compared.metrics
    names = memory_measures(evidence, before, after, limits)
    figures = "; ".join(f"{phrase(name)}: {_three(evidence, name, compared)}" for name in names)
    n = f"N = {count(after[names[0]].n)}"
    told_before, told = (compared.held_out and told_apart(side) > 0 for side in (before, after))
    if not told_before and not any(_recalled(evidence, name, compared) for name in names):
        text = (
            f"Already before unlearning the model recalled no more of the forget set than {compared.than}, "
            f"{n}, so this run shows no forgetting ({figures}). Check that the base model was trained on the forget "
            "set."
        )
        return Forgetting.NEVER_KNOWN, Finding(Tone.CAUTION, "Nothing to forget", text)
    if all(after[name].value <= upper(limits[name]) for name in names):
        if told:
            area = after[f"membership_inference_{PRIVACY_ATTACK}"]
            text = (
                f"The model recalls no more of the forget set than {compared.than}, {n} ({figures}), but membership "
                f"inference still tells the two apart (AUC {number(area.value)}; 0.5 is a guess)."
            )
            return Forgetting.PARTLY, Finding(Tone.CAUTION, "Partly forgotten", text)
        text = (
            f"The model recalls no more of the forget set than {compared.than}, within the 95 % "
            f"intervals, {n} ({figures}). This compares means; it is no test that the two are alike."
        )
        return Forgetting.FORGOTTEN, Finding(Tone.GOOD, "Forgotten", text)
    ways = [share for name in names if (share := _way(evidence, name, limits)) is not None]
    share = min(ways, default=0.0)
    text = f"The model still recalls more of the forget set than {compared.than}, {n} ({figures}), {_part(share)}."
    if share >= HALF_WAY:
        return Forgetting.PARTLY, Finding(Tone.CAUTION, "Partly forgotten", text)
    return Forgetting.NOT, Finding(Tone.BAD, "Not forgotten", text)


def _recalled(evidence: Evidence, name: str, compared: Unseen) -> bool:
    """Whether the model before unlearning knew clearly more than one that never saw the forget set.

    By the 95 % intervals, or, where they are wide, by more than `MARGIN`.
    """
    before, limit = evidence.before[name], compared.before.get(name)
    return limit is not None and (
        lower(before) > upper(limit) or before.value > max(upper(limit), limit.value + MARGIN)
    )


def _without_reference(evidence: Evidence) -> tuple[Forgetting, Finding]:
    missing = (
        "There is no reference (a model that never saw the data), so it cannot be claimed that the data is "
        "forgotten as well as by such a model, nor that forgetting has not gone too far."
    )
    names = memory_measures(evidence, evidence.before, evidence.after)
    if not names:
        return Forgetting.UNKNOWN, Finding(Tone.OPEN, "Not measured", missing)
    name = names[0]
    guessed = {metric: chance for metric in names if (chance := by_chance(metric)) is not None}
    if guessed and all(lower(evidence.before[metric]) <= chance for metric, chance in guessed.items()):
        return _never_known(evidence, list(guessed))
    before, after = evidence.before[name], evidence.after[name]
    figures = (
        f"{phrase(name)}, {number(before.value)} before and {number(after.value)} after, N = {count(after.n)}"
    )
    if after.value <= HALF_WAY * before.value and upper(after) < lower(before):
        text = f"The model recalls the forget set less than before ({figures}). {missing}"
        return Forgetting.REDUCED, Finding(Tone.OPEN, "Recalled less, and no more can be said", text)
    if after.value > HALF_WAY * before.value:
        text = f"The model recalls the forget set more than half as well as before ({figures})."
        if not guessed and before.value < HALF_WAY:
            text += (
                " So would one that never knew it: whether this one did, a holdout (data.holdout) or a reference "
                "can tell."
            )
    else:
        text = (
            "The model recalls the forget set half as well as before or less, but the 95 % intervals meet, so "
            f"this may be chance ({figures})."
        )
    return Forgetting.NOT, Finding(Tone.BAD, "Not forgotten", text)


def memory_measures(evidence: Evidence, *sides: Mapping[str, Metric]) -> list[str]:
    """The measures of memory that every side has; of a loss that aims at answers those of the answers, if any."""
    names = preferred("memory", *sides)
    written = [name for name in names if (measure := declared(name)) and measure.generated]
    return written if evidence.aims == "answers" and written else names


def _by_answers(evidence: Evidence) -> bool:
    """Whether the loss aims at the answers that the model writes, and they were measured."""
    names = memory_measures(evidence, evidence.before, evidence.after)
    return evidence.aims == "answers" and all((m := declared(name)) and m.generated for name in names)


def beneath_the_answers(evidence: Evidence) -> tuple[bool, Finding] | None:
    """Tell, where the loss aims at answers, whether the true ones are still more than half as probable as before.

    None where the verdict rests on the probabilities anyway, or they were not measured.
    """
    name = "forget_probability"
    if not (name in evidence.before and name in evidence.after and _by_answers(evidence)):
        return None
    before, after = evidence.before[name], evidence.after[name]
    figures = (
        f"{phrase(name)}, {number(before.value)} before and {number(after.value)} after, N = {count(after.n)}"
    )
    if after.value > HALF_WAY * before.value:
        text = (
            "The loss aims at what the model writes, and the verdict rests on that. The true answers are still more "
            f"than half as probable as before ({figures}): what is no longer said may still be there to be drawn out."
        )
        return True, Finding(Tone.CAUTION, "Still probable", text)
    text = f"The true answers have become improbable as well ({figures})."
    return False, Finding(Tone.GOOD, "Improbable as well", text)


def _ended_before_training(evidence: Evidence) -> tuple[Forgetting, Finding]:
    reason = clearly_unknown(evidence) or "the model never knew the forget set"
    text = (
        f"{reason[0].upper()}{reason[1:]}. So nothing was trained, and no model is handed over. Check that model.path "
        "is the model that was trained on the forget set, and that the questions are asked as it was trained "
        "(data.template); stopping.nothing_to_forget: train trains all the same."
    )
    return Forgetting.NEVER_KNOWN, Finding(Tone.CAUTION, "Nothing to forget", text)


def _forgot_nothing(evidence: Evidence) -> tuple[Forgetting, Finding]:
    if evidence.futile == "unchanged":
        reason = (
            "Training left the weights as they were, up to rounding: the learning rate is too low, or all steps fell "
            "into the warm-up"
        )
    else:
        reason = "After no epoch was less of the forget set left than before, neither in answers nor in probabilities"
    text = f"{reason}. So no model is handed over: the original is what there is."
    return Forgetting.NOT, Finding(Tone.BAD, "Nothing was forgotten", text)


def _never_known(evidence: Evidence, names: Sequence[str]) -> tuple[Forgetting, Finding]:
    before, after = evidence.before, evidence.after
    figures = "; ".join(
        f"{phrase(name)}: {number(before[name].value)} before, {number(after[name].value)} after, "
        f"{by_chance(name):g} by guessing"
        for name in names
    )
    text = (
        "Already before unlearning the model recalled no more of the forget set than guessing gives, within the 95 % "
        f"intervals, N = {count(before[names[0]].n)}, so this run shows no forgetting ({figures}). Check that the base "
        "model was trained on the forget set."
    )
    return Forgetting.NEVER_KNOWN, Finding(Tone.CAUTION, "Nothing to forget", text)


def _ks_way(before: Mapping[str, Metric], after: Mapping[str, Metric]) -> float | None:
    name = "forget_quality_ks"
    if name not in before or name not in after or before[name].value <= 0:
        return None
    return 1 - after[name].value / before[name].value


def _way(evidence: Evidence, name: str, limits: Mapping[str, Metric]) -> float | None:
    """The part of the way from before to what was never seen; None where it cannot be said."""
    if not all(name in side for side in (evidence.before, evidence.after, limits)):
        return None
    start, end = evidence.before[name].value, limits[name].value
    return (start - evidence.after[name].value) / (start - end) if start > end else None


def _part(share: float) -> str:
    return f"{math.floor(100 * share)} % of the way" if share > 0 else "no part of the way"


def _three(evidence: Evidence, name: str, compared: Unseen) -> str:
    return (
        f"{number(evidence.before[name].value)} before, {number(evidence.after[name].value)} after, "
        f"{number(compared.metrics[name].value)} {compared.side}"
    )
