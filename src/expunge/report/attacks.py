"""What the attacks say, for the verdict and for those who read it. Pure: figures in, conclusions out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..attacks.recovery import Recovery
from ..attacks.settings import BY_KEYWORDS
from ..folder.state import AttackFacts, AttackOutcome, AttackVariant
from .evidence import Finding, Forgetting, Tone
from .quantities import count, number, percent

#: Above this share of the lost knowledge, with the whole interval, an attack brings too much back: docs/attacks.md.
TOO_MUCH = 0.1
#: Below this share, with the whole interval, what was forgotten stands out by being avoided. Two models that never saw
#: a text were seen to differ by 29 % of what the original differs from them: docs/attacks.md.
AVOIDED = -0.3
#: What the measures that attacks are judged by are called.
MEASURES = {
    "probability": "probability of the answer",
    "strength": "extraction strength",
    "rouge": "ROUGE-L recall",
}


@dataclass(frozen=True)
class Worst:
    """The variant of an attack that brought back most, by the measure that counts; recovery.share is a number."""

    name: str
    outcome: AttackOutcome
    variant_name: str
    variant: AttackVariant
    recovery: Recovery

    @property
    def share(self) -> float:
        assert self.recovery.share is not None
        return self.recovery.share

    @property
    def shown(self) -> float:
        """The share for the eye: less than nothing comes back only where that is a trace as well."""
        return self.share if self.variant.two_sided else max(self.share, 0.0)

    @property
    def too_much(self) -> bool:
        """Clearly so; a bound from above, where a holdout stood in for the reference, shows no such thing."""
        return not self.recovery.upper_bound and self._above

    @property
    def may_be_too_much(self) -> bool:
        return self.recovery.upper_bound and self._above

    @property
    def unsure(self) -> bool:
        """Whether the share is too much and its interval reaches below: too few questions to say."""
        return self.share > TOO_MUCH and not self._above

    @property
    def _above(self) -> bool:
        return self.recovery.low is not None and self.recovery.low > TOO_MUCH

    @property
    def avoided(self) -> bool:
        """Whether it shows clearly less than the reference: what was to be hidden stands out."""
        return self.variant.two_sided and self.recovery.high is not None and self.recovery.high < AVOIDED

    @property
    def badness(self) -> tuple[bool, float]:
        """By which the worst is found: what is clearly too much goes before a higher share that may be chance."""
        return self._above, self.share


def resolved(name: str, outcome: AttackOutcome) -> list[Worst]:
    """Every variant of an attack of which something can be said."""
    return [
        Worst(name, outcome, variant_name, variant, found)
        for variant_name, variant in outcome.variants.items()
        if (found := variant.recoveries[variant.lead]).share is not None
    ]


def worst_of(name: str, outcome: AttackOutcome) -> Worst | None:
    """The worst variant of an attack; None where none could be resolved."""
    return max(resolved(name, outcome), key=lambda worst: worst.badness, default=None)


def worst_first(facts: AttackFacts, counting: bool = True) -> list[Worst]:
    """The worst variant of every attack that counts against the verdict (or of those that do not), the worst first."""
    each = (worst_of(name, outcome) for name, outcome in facts.outcomes.items() if outcome.counts is counting)
    return sorted((worst for worst in each if worst), key=lambda worst: worst.badness, reverse=True)


def avoided(facts: AttackFacts | None) -> Worst | None:
    """The variant by which what was forgotten stands out most by being avoided, whatever the attack's others say; None
    where by none it does."""
    outcomes = facts.outcomes.items() if facts else ()
    found = [
        one for name, outcome in outcomes if outcome.counts for one in resolved(name, outcome) if one.avoided
    ]
    return min(found, key=lambda one: one.share, default=None)


def _trace(one: Worst) -> str:
    return (
        f"By {one.name} ({one.variant_name}) the data stand out the other way ({percent(one.share)}, "
        f"{_interval(one.recovery)}): they are avoided more than by a model that never saw them."
    )


def judge_attacks(facts: AttackFacts | None, forgetting: Forgetting) -> tuple[Forgetting, Finding | None]:
    """`forgetting` in the light of the attacks: only what they do not bring back counts as forgotten."""
    asked = forgetting is Forgetting.FORGOTTEN
    if facts is None:
        if not asked:
            return forgetting, None
        text = (
            "Nobody has tried to bring the data back. What looks forgotten when it is asked for plainly may come back "
            "once the weights are rounded, or after a few steps of finetuning. Run `expunge attack` on this folder."
        )
        return Forgetting.AS_ASKED, Finding(Tone.OPEN, "Attacks not run", text)
    made = worst_first(facts)
    if not made:
        text = f"{how_many(facts)} Of none can it be said what it brought back{_why(facts)}."
        return (Forgetting.UNRESOLVED if asked else forgetting), Finding(
            Tone.OPEN, "Attacks without a result", text
        )
    worst = made[0]
    bound = " at most" if worst.recovery.upper_bound else ""
    figure = (
        f"{bound} {percent(worst.shown)} of what was lost (95 % interval {_interval(worst.recovery)}, "
        f"N = {count(worst.recovery.n)})"
    )
    reached = f"{worst.name} ({worst.outcome.title}) brings back{figure}"
    stands_out = avoided(facts)
    trace = f" {_trace(stands_out)}" if stands_out else ""
    if worst.too_much:
        text = (
            f"{how_many(facts)} The strongest, {reached}.{trace} More than {percent(TOO_MUCH)} is too much."
        )
        return (Forgetting.PARTLY if asked else forgetting), Finding(
            Tone.BAD, "An attack brings it back", text
        )
    text = f"{how_many(facts)} The strongest, {reached}.{trace} "
    text += (
        f"Too much is above {percent(TOO_MUCH)}, with the whole interval: on so few questions this may be chance."
        if worst.unsure
        else f"It would be too much above {percent(TOO_MUCH)}."
    )
    if worst.may_be_too_much:
        text += " Whether it is cannot be said without a reference model, which is attacked likewise."
        return (Forgetting.UNRESOLVED if asked else forgetting), Finding(
            Tone.OPEN, "Attacks without a result", text
        )
    if facts.missing:
        text += f" Not run: {', '.join(facts.missing)}."
        return (Forgetting.AS_ASKED if asked else forgetting), Finding(Tone.OPEN, "Attacks not all run", text)
    if worst.unsure:
        return forgetting, Finding(Tone.CAUTION, "An attack may bring some of it back", text)
    return forgetting, Finding(Tone.CAUTION if trace else Tone.GOOD, "The attacks bring little back", text)


def brought_back(facts: AttackFacts | None) -> Worst | None:
    """The attack that brought back too much, the worst one; None where none did."""
    worst = next(iter(worst_first(facts) if facts else []), None)
    return worst if worst and worst.too_much else None


def may_have_brought_back(facts: AttackFacts | None) -> Worst | None:
    """The worst attack where its share is too much, but too few questions were asked to be sure; else None."""
    worst = next(iter(worst_first(facts) if facts else []), None)
    return worst if worst and worst.unsure else None


def by_keywords(variant: AttackVariant) -> str:
    """Of how many of its questions leaks were told by keywords; empty where the data name none."""
    if BY_KEYWORDS not in variant.facts:
        return ""
    return f"{BY_KEYWORDS}: {variant.facts[BY_KEYWORDS]:.0f} of {variant.recoveries[variant.lead].n}"


def lines(facts: AttackFacts) -> list[str]:
    """For the terminal: how many attacks were made, what each brought back at most, the worst first, with the values
    behind it, and what cannot be said."""
    width = max(map(len, facts.outcomes), default=0)
    told = [how_many(facts)]
    if any(worst_first(facts, counting) for counting in (True, False)):
        unseen = "that of unseen text" if facts.ground == "holdout" else "the reference's"
        told.append(f"In parentheses: the original's value → after → by the attack | {unseen} by it.")
    for counting in (True, False):
        for worst in worst_first(facts, counting):
            notes = (worst.variant_name, by_keywords(worst.variant), _raw(worst))
            told.append(
                f"{worst.name:<{width}}  {_bound(worst)}{percent(worst.shown):>8} of what was lost is back  "
                f"[{_interval(worst.recovery)}], N = {worst.recovery.n}  ({'; '.join(filter(None, notes))})"
                + (
                    ""
                    if counting
                    else "; it needs the model from before, or teaches the answers: it does not count"
                )
            )
    stands_out = avoided(facts)
    bare = bare_values(facts) if facts.ground == "none" else []
    return [*told, *([_trace(stands_out)] if stands_out else []), *bare, *not_said(facts)]


def _bound(worst: Worst) -> str:
    return "at most " if worst.recovery.upper_bound else ""


def _raw(worst: Worst) -> str:
    """The means that a share is made of; a score of the attack's own has none from before it."""
    found = worst.recovery
    course = (found.original, found.after, found.attacked)
    values = " → ".join("–" if value is None else number(value) for value in course)
    theirs = "" if found.attacked_reference is None else f" | {number(found.attacked_reference)}"
    return f"{MEASURES.get(worst.variant.lead, worst.variant.lead)} {values}{theirs}"


def self_check(facts: AttackFacts | None) -> str:
    """A sentence on whether merged weights have forgotten too: what merging, and rounding after it, brought back."""
    outcomes = facts.outcomes if facts else {}
    tried = [worst_of(name, outcomes[name]) for name in ("merge", "quantise") if name in outcomes]
    if not tried:
        return "Whether the change outlasts 16 bits was not tried: `expunge attack RUN merge quantise` does."
    told = [
        f"{one.variant_name} {_bound(one)}{percent(one.shown)} ({_interval(one.recovery)})"
        for one in tried
        if one
    ]
    if not told:
        return "Whether the change outlasts 16 bits was tried, and cannot be said."
    return f"In merged weights so much of what was lost is back: {', '.join(told)}."


def bare_values(facts: AttackFacts) -> list[str]:
    """A line for every variant of an attack that was made: its means, where there is nothing to compare them with."""
    rows = [
        (name, variant_name, variant, variant.recoveries[variant.lead])
        for name, outcome in facts.outcomes.items()
        for variant_name, variant in outcome.variants.items()
    ]
    width = max((len(name) for name, *_ in rows), default=0)
    return [
        f"{name:<{width}}  {MEASURES.get(variant.lead, variant.lead)}: {number(found.original)} of the original, "
        + (f"{number(found.after)} after, " if found.after is not None else "")
        + f"{number(found.attacked)} by the attack, N = {found.n}  ({variant_name})"
        for name, variant_name, variant, found in rows
    ]


def how_many(facts: AttackFacts) -> str:
    """A sentence: how many attacks were made, of those that there are in the budget, and how many of these count."""
    made = [outcome.counts for outcome in facts.outcomes.values() if not outcome.unfit]
    known = len(facts.outcomes) + len(facts.missing)
    of = "" if len(made) == known else f" of {count(known)}"
    some = "" if facts.items == facts.of else f" of {count(facts.of)}"
    rests = f"; the verdict rests on {count(sum(made))} of them, as the others need the model from before or teach the"
    counted = "" if all(made) else f"{rests} answers"
    asked = f"{count(facts.items)}{some} questions or pieces of text"
    return f"{count(len(made))}{of} attacks were made on {asked}{counted}."


def not_made(facts: AttackFacts) -> list[str]:
    """Sentences that name the attacks that were not made, by the reason."""
    reasons: dict[str, list[str]] = {}
    for name, outcome in facts.outcomes.items():
        if outcome.unfit:
            reasons.setdefault(outcome.unfit, []).append(name)
    if facts.missing:
        reasons["not asked for"] = facts.missing
    if facts.beyond:
        reasons["only the budget full has them, by which others ask more as well"] = facts.beyond
    return [f"Not made: {_listed(names)} ({why})." for why, names in reasons.items()]


def not_said(facts: AttackFacts) -> list[str]:
    """Sentences on what the attacks leave open: which were not made, of which nothing can be said, and why."""
    unresolved: dict[str, list[str]] = {}
    for name, outcome in facts.outcomes.items():
        for variant_name, variant in outcome.variants.items():
            if why := variant.recoveries[variant.lead].unresolved:
                unresolved.setdefault(why, []).append(f"{name} ({variant_name})")
    return [
        *not_made(facts),
        *(f"Nothing can be said of {_listed(names)}: {why}." for why, names in unresolved.items()),
    ]


def _why(facts: AttackFacts) -> str:
    reasons = {
        why
        for outcome in facts.outcomes.values()
        if outcome.counts
        for why in (
            outcome.unfit,
            *(variant.recoveries[variant.lead].unresolved for variant in outcome.variants.values()),
        )
        if why
    }
    return f": {'; '.join(sorted(reasons))}" if reasons else ""


def _interval(recovery: Recovery) -> str:
    assert recovery.low is not None
    assert recovery.high is not None
    return f"{percent(recovery.low)} to {percent(recovery.high)}"


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
