"""The verdict says in words what may be said about a run, and what may not. Pure: figures in, sentences out.

- Forgetting: see `expunge.report.forgetting`.
- Attacks: only what they do not bring back counts as forgotten; see `expunge.report.attacks`.
- *Kept*: utility after ≥ 95 % (the recipe's floor) of the utility before.
  With fewer than `LEAST_FOR_UTILITY` samples that cannot be said, unless it is lost beyond both 95 % intervals.
- *Over-unlearned*: truth ratios beyond the reference's, or answers less than half as probable as for the
  reference (without one: as those of the holdout) with intervals that do not meet (the Streisand effect, LoKU §4.3),
  or membership inference tells the data by how they are avoided.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..benchmarks.measures import phrase
from ..folder.state import AttackFacts
from ..training.tuning import NOTHING_LEFT
from .advice import MORE_TO_KEEP, Concluded, against, following
from .attacks import avoided, judge_attacks, not_said
from .evidence import (
    HALF_WAY,
    LEAST_FOR_UTILITY,
    SIGNIFICANCE,
    Evidence,
    Finding,
    Forgetting,
    Tone,
    judged_utility,
    left_of_lost_answers,
    lower,
    rule_utility,
    upper,
)
from .forgetting import beneath_the_answers, judge_forgetting, unseen
from .quantities import count, number, percent


@dataclass(frozen=True)
class Verdict:
    """`headline` is one sentence; `findings` give its parts with their figures and N.

    against: points against the result, in a few words; next: tips on what to try, likewise. Both may be empty
    """

    tone: Tone
    headline: str
    forgetting: Forgetting
    utility_kept: bool | None
    over_unlearned: bool | None
    findings: list[Finding]
    against: list[str]
    next: list[str]

    @property
    def satisfied(self) -> bool:
        """Whether the forget set is forgotten and the utility kept: what `--strict` asks for."""
        return self.forgetting is Forgetting.FORGOTTEN and self.utility_kept is True

    @property
    def line(self) -> str:
        return in_one_line(self.headline, self.against, self.next)

    @property
    def objection(self) -> str:
        """The line without what to try next: for whoever is handed the result."""
        return in_one_line(self.headline, self.against)

    def to_json(self) -> dict[str, Any]:
        """As `run.json` has it."""
        return {
            "forgetting": self.forgetting.word,
            "utility_kept": self.utility_kept,
            "headline": self.headline,
            "against": self.against,
            "next": self.next,
        }


def in_one_line(headline: str, against: Sequence[str], following: Sequence[str] = ()) -> str:
    """The verdict for a terminal."""
    parts = [headline]
    if against:
        parts.append(f"Against it: {'; '.join(against)}.")
    if following:
        parts.append(f"To try next: {'; '.join(following)}.")
    return " ".join(parts)


def judge(evidence: Evidence) -> Verdict:
    """The verdict on a run, by the rules at the top of this module."""
    as_asked, forgetting_finding = judge_forgetting(evidence)
    forgetting, attack_finding = judge_attacks(evidence.attacks, as_asked)
    kept, utility_finding = _utility(evidence)
    over, over_finding = _over_unlearning(evidence, forgetting)
    hidden = beneath_the_answers(evidence)
    findings = [
        forgetting_finding,
        attack_finding,
        hidden[1] if hidden else None,
        utility_finding,
        _lost_answers(evidence) if kept is not False else None,
        over_finding,
        *_course(evidence),
    ]
    concluded = Concluded(evidence, as_asked, forgetting, kept, bool(over), bool(hidden and hidden[0]))
    return Verdict(
        tone=_tone(evidence, forgetting, kept, over),
        headline=_headline(evidence, forgetting, kept, over),
        forgetting=forgetting,
        utility_kept=kept,
        over_unlearned=over,
        findings=[finding for finding in findings if finding],
        against=against(concluded),
        next=following(concluded),
    )


# --- utility


def _utility(evidence: Evidence) -> tuple[bool | None, Finding]:
    if evidence.ended:
        text = "The original model is what there is, with all of its utility."
        return None, Finding(Tone.OPEN, "No model is handed over", text)
    name = judged_utility(evidence.utility, evidence.floor, evidence.before, evidence.after)
    if name is None or evidence.before[name].value <= 0:
        text = "What the model should keep was not measured before and after."
        return None, Finding(Tone.OPEN, "Utility not measured", text)
    before, after = evidence.before[name], evidence.after[name]
    share = after.value / before.value
    # The figure that a reader sees must not contradict the rule: 0.9496 is not shown as 95.0 %.
    shown = percent(share) if percent(share) != percent(evidence.floor) else percent(share, 3)
    called = phrase(name)
    text = (
        f"{called[0].upper()}{called[1:]}: {number(before.value)} before, "
        f"{number(after.value)} after, that is {shown} of it; the rule asks for at least "
        f"{100 * evidence.floor:g} %. N = {count(after.n)}."
    )
    if after.n < LEAST_FOR_UTILITY and not upper(after) < evidence.floor * lower(before):
        text += f" That is too few to say whether it is kept: {MORE_TO_KEEP}."
        return None, Finding(Tone.OPEN, "Utility cannot be said", text)
    if share >= evidence.floor:
        return True, Finding(Tone.GOOD, "Utility kept", text)
    return False, Finding(Tone.BAD, "Utility not kept", text)


def _lost_answers(evidence: Evidence) -> Finding | None:
    """A mean can rise while a few answers go: those that the model is surer of now make up for them."""
    share = left_of_lost_answers(evidence)
    if share is None:
        return None
    before, after = evidence.before["retain_kept"], evidence.after["retain_kept"]
    text = (
        f"If every answer that should stay counts no more than before, {number(after.value)} of "
        f"{number(before.value)} is left, that is {percent(share)}. Others have become likelier, "
        f"so that the mean does not show it. N = {count(after.n)}. Give examples of what is most like what was "
        "forgotten (data.retain)."
    )
    return Finding(Tone.CAUTION, "Answers that should stay are lost", text)


# --- over-unlearning


def _over_unlearning(evidence: Evidence, forgetting: Forgetting) -> tuple[bool | None, Finding | None]:
    compared = unseen(evidence)
    name = "forget_probability"
    quality = evidence.after.get("forget_quality") if compared.metrics else None
    probability = name in evidence.after and name in compared.before
    stands_out = avoided(evidence.attacks)
    those = "those of the holdout" if compared.held_out else "for a model that never saw them"
    if not quality and not probability and not stands_out:
        return None, None  # the finding about the missing reference says so already
    signs = []
    if quality and quality.value < SIGNIFICANCE and evidence.shift and evidence.shift.beyond < SIGNIFICANCE:
        some = "" if forgetting is Forgetting.OVERSHOT else " for a part of the questions"
        signs.append(f"the truth ratios lie beyond the reference's{some}")
    if probability:
        after, limit = evidence.after[name], compared.before[name]
        if after.value < HALF_WAY * limit.value and upper(after) < lower(limit):
            signs.append(
                f"the right answers are less than half as probable ({number(after.value)}) as {those} "
                f"({number(limit.value)})"
            )
    if stands_out:
        signs.append(
            f"an outsider can tell the data by how they are avoided ({stands_out.name}, {stands_out.variant_name})"
        )
    if signs:
        text = (
            f"There are signs of over-unlearning: {' and '.join(signs)}. Avoiding answers more than "
            "ignorance would is a trace in itself: it can tell someone which data was deleted (the "
            "Streisand effect). Fewer epochs or a lower learning rate stop earlier."
        )
        return True, Finding(Tone.CAUTION, "Over-unlearning", text)
    text = (
        "Neither the truth ratios nor the probability of the answers lie clearly beyond those of a model "
        "that never saw the data."
        if quality
        else f"The answers are not clearly less probable than {those}."
    )
    return False, Finding(Tone.GOOD, "No sign of over-unlearning", text)


# --- the course of the run


def _course(evidence: Evidence) -> list[Finding]:
    findings = []
    if evidence.failed:
        text = evidence.stopped or "The run ended with an error; what is shown is what it left behind."
        findings.append(Finding(Tone.BAD, "The run failed", text))
    elif evidence.stopped == NOTHING_LEFT:
        text = f"Training ended before its last epoch, since {NOTHING_LEFT}."
        findings.append(Finding(Tone.GOOD, "Ended early", text))
    elif evidence.stopped:
        text = f"Training stopped before its last epoch: {evidence.stopped.removesuffix('.')}."
        findings.append(Finding(Tone.CAUTION, "Stopped early", text))
    if evidence.last and not evidence.qualified and not evidence.ended:
        text = f"The recipe asks for the last epoch, and it kept less than {100 * evidence.floor:g} % of the utility."
        findings.append(Finding(Tone.CAUTION, "The last epoch does not meet the utility rule", text))
    elif not evidence.qualified and not evidence.ended:
        chosen = f"Epoch {evidence.epoch} was kept nevertheless" if evidence.epoch else "No epoch was chosen"
        text = f"No epoch kept {100 * evidence.floor:g} % of the utility during training. {chosen}."
        findings.append(Finding(Tone.CAUTION, "No epoch met the utility rule", text))
    return findings


def _tone(evidence: Evidence, forgetting: Forgetting, kept: bool | None, over: bool | None) -> Tone:
    if evidence.failed or forgetting is Forgetting.NOT or kept is False:
        return Tone.BAD
    spoilt = over or left_of_lost_answers(evidence) is not None
    if forgetting is Forgetting.FORGOTTEN and kept and not spoilt and evidence.qualified:
        return Tone.GOOD
    open_ones = (Forgetting.REDUCED, Forgetting.UNKNOWN, Forgetting.AS_ASKED, Forgetting.UNRESOLVED)
    if forgetting in open_ones:
        return Tone.OPEN
    return Tone.CAUTION


_HEADLINES = {
    Forgetting.FORGOTTEN: "Forgotten",
    Forgetting.PARTLY: "Partly forgotten",
    Forgetting.AS_ASKED: "Forgotten as asked, attacks not run",
    Forgetting.UNRESOLVED: "Forgotten as asked, attacks without a result",
    Forgetting.NOT: "Not forgotten",
    Forgetting.OVERSHOT: "Pushed past forgetting",
    Forgetting.NEVER_KNOWN: "There was nothing to forget",
    Forgetting.REDUCED: "Recalled less, but whether it is forgotten cannot be said",
    Forgetting.UNKNOWN: "Forgetting was not measured",
}


def _headline(evidence: Evidence, forgetting: Forgetting, kept: bool | None, over: bool | None) -> str:
    if evidence.ended:
        first = (
            "There was nothing to forget" if forgetting is Forgetting.NEVER_KNOWN else "Nothing was forgotten"
        )
        return f"{'The run failed. ' if evidence.failed else ''}{first}; no model is handed over."
    first = _HEADLINES[forgetting]
    well = forgetting in (Forgetting.FORGOTTEN, Forgetting.AS_ASKED, Forgetting.UNRESOLVED, Forgetting.PARTLY)
    if kept is None and rule_utility(evidence.utility, evidence.before, evidence.after):
        second = "; whether the model's utility is kept cannot be said."
    elif kept is None:
        second = "; what should be kept was not measured."
    elif kept:
        second = ", and the model's utility is kept." if well else "; the model's utility is kept."
    else:
        second = ", but the model's utility is not kept." if well else "; the model's utility is not kept."
    third = " There are signs of over-unlearning." if over and forgetting is not Forgetting.OVERSHOT else ""
    failed = "The run failed. " if evidence.failed else ""
    return f"{failed}{first}{second}{third}"


def limits(evidence: Evidence) -> list[str]:
    """Sentences that say what the figures do not show, whatever the verdict."""
    sentences = [
        *([evidence.limit] if evidence.limit else []),
        *_of_attacks(evidence.attacks),
    ]
    if evidence.surrogate:
        held_out = evidence.surrogate["held_out"]
        measured = f", and utility was measured on {count(held_out)} of them" if held_out else ""
        sentences.append(
            f"There was no retain set: {count(evidence.surrogate['samples'])} samples that the original model wrote "
            f"itself stood in for it{measured}. What the model seldom writes of its own accord was not guarded. The "
            "samples were screened against the forget set by words in a row and by names; a paraphrase may have "
            "passed, and was then kept."
        )
    if not evidence.reference:
        sentences.append(
            "Without a reference model the comparison with a model that never saw the data, which is the "
            "standard for forgetting, is missing."
        )
    return sentences


def _of_attacks(facts: AttackFacts | None) -> list[str]:
    if facts is None:
        return [
            "The figures hold for the forget set as it was asked here; other ways of asking can bring back more.",
            "No attack is part of this report: relearning on a few examples, quantisation or repeated sampling "
            "may recover forgotten content.",
        ]
    return [
        f"The attacks are those that this version knows, with the budget {facts.budget}; others can bring back more.",
        *not_said(facts),
    ]
