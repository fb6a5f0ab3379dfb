"""What stands against a result, and what to try next. Pure: conclusions in, a few words out."""

from __future__ import annotations

from dataclasses import dataclass

from .attacks import avoided, brought_back, may_have_brought_back
from .evidence import LEAST_FOR_UTILITY, Evidence, Forgetting, left_of_lost_answers, rule_utility
from .known import LEAST
from .quantities import percent

#: Where the utility is measured on too few.
MORE_TO_KEEP = (
    "give more examples of what should stay (data.retain), or have the model write them (data.retain: self)"
)


@dataclass(frozen=True)
class Strength:
    """Tips where forgetting was too weak; too strong, so that utility was lost; both at once; or went too far.

    Each says in plain words what it does, and in brackets by which key of the recipe.
    """

    stronger: str
    kinder: str
    both: str
    weaker: str


#: Where the recipe gave the learning rate, and where trials found the best one: then it is no tip.
WHERE_GIVEN = Strength(
    stronger="train for longer (more training.epochs), or in larger steps (a higher training.learning_rate)",
    kinder="let what should stay weigh more (a higher objective.retain_weight), give more examples of it "
    "(data.retain), or train in smaller steps (a lower training.learning_rate)",
    both="train for longer in smaller steps (more training.epochs, a lower training.learning_rate), or give more "
    "examples of what should stay (data.retain)",
    weaker="train for less long (fewer training.epochs), or in smaller steps (a lower training.learning_rate)",
)
WHERE_FOUND = Strength(
    stronger="train for longer (more training.epochs), search longer for the size of the steps (more tuning.trials), "
    "or let what should stay weigh less (a lower objective.retain_weight)",
    kinder="let what should stay weigh more (a higher objective.retain_weight), or give more examples of it "
    "(data.retain)",
    both="train for longer (more training.epochs), or give more examples of what should stay (data.retain)",
    weaker="train for less long (fewer training.epochs), or let what should stay weigh more (a higher "
    "objective.retain_weight)",
)


@dataclass(frozen=True)
class Concluded:
    """What the verdict has concluded.

    as_asked: the forgetting without the attacks; over: signs of over-unlearning; hidden: only the answers have changed
    """

    evidence: Evidence
    as_asked: Forgetting
    forgetting: Forgetting
    kept: bool | None
    over: bool
    hidden: bool


AGAINST = {
    Forgetting.PARTLY: "a part of the forget set is still recalled",
    Forgetting.NOT: "the forget set is still recalled",
    Forgetting.AS_ASKED: "attacks were not run, or not all",
    Forgetting.UNRESOLVED: "the attacks cannot say whether it stays forgotten",
    Forgetting.OVERSHOT: "the answers are avoided more than a model would that never saw them",
    Forgetting.REDUCED: "there is no reference, a model that never saw the forget set, to compare with",
    Forgetting.UNKNOWN: "what the model recalls was not measured",
}


def against(result: Concluded) -> list[str]:
    """The points that stand against the result, the weightiest first."""
    evidence, forgetting = result.evidence, result.forgetting
    if evidence.ended or forgetting is Forgetting.NEVER_KNOWN:
        return []
    name = rule_utility(evidence.utility, evidence.before, evidence.after)
    few = name is not None and evidence.after[name].n < LEAST_FOR_UTILITY
    attack, unsure = brought_back(evidence.attacks), may_have_brought_back(evidence.attacks)
    stands_out = avoided(evidence.attacks)
    left = left_of_lost_answers(evidence) if result.kept is not False else None
    points = [
        AGAINST.get(result.as_asked if attack else forgetting),
        f"{percent(attack.share)} of what was lost comes to light where {attack.outcome.title}"
        if attack
        else None,
        f"{percent(unsure.share)} of what was lost may come to light where {unsure.outcome.title}, on too few "
        "questions to be sure"
        if unsure
        else None,
        f"what was forgotten stands out by being avoided ({stands_out.name}, {stands_out.variant_name})"
        if stands_out
        else None,
        "the model lost utility" if result.kept is False else None,
        "answers that should stay are lost, though others have become likelier: "
        f"{percent(left)} of their probability is left"
        if left is not None
        else None,
        f"the utility was measured on {evidence.after[name].n} samples only"
        if result.kept is None and name is not None and few
        else None,
        "the utility was not measured" if result.kept is None and not few else None,
        "there are signs of over-unlearning"
        if result.over and forgetting is not Forgetting.OVERSHOT and not stands_out
        else None,
        "the true answers are still probable" if result.hidden else None,
    ]
    return [point for point in points if point]


def following(result: Concluded) -> list[str]:
    """Tips on what to try next, where forgetting was too weak or too strong, or where that cannot be told."""
    evidence, forgetting = result.evidence, result.forgetting
    if forgetting is Forgetting.NEVER_KNOWN:
        return ["check that the model was trained on what it is to forget (model.path)"]
    strength = WHERE_FOUND if evidence.rate_found else WHERE_GIVEN
    if evidence.ended:
        return [strength.stronger]
    strong = result.kept is False or result.over or forgetting is Forgetting.OVERSHOT
    weak = forgetting in (Forgetting.PARTLY, Forgetting.NOT)
    tips = []
    if strong and weak:
        tips.append(strength.both)
    elif weak:
        tips.append(strength.stronger)
    elif strong:
        tips.append(strength.kinder if result.kept is False else strength.weaker)
    if result.kept is not False and left_of_lost_answers(evidence) is not None:
        tips.append("name what should stay that is most like what goes (data.retain)")
    if forgetting is Forgetting.AS_ASKED:
        tips.append("try to bring it back (`expunge attack` on the run's folder)")
    if may_have_brought_back(evidence.attacks):
        tips.append("ask more in the attacks (`expunge attack --budget full` on the run's folder)")
    if forgetting is Forgetting.UNRESOLVED:
        tips.append("attack a model that never saw it likewise (`expunge attack` with --reference)")
    if forgetting in (Forgetting.REDUCED, Forgetting.UNKNOWN):
        held_out = any(of.n >= LEAST for name, of in evidence.before.items() if name.startswith("holdout_"))
        holdout = (
            "" if held_out else f", or with {LEAST} samples or more that this one never saw (data.holdout)"
        )
        tips.append(f"compare with a model that never saw it (evaluation.reference){holdout}")
    if result.kept is None:
        tips.append(MORE_TO_KEEP)
    if result.hidden:
        tips.append("train on the probabilities of the true answers (objective.forget: ihl or npo)")
    return tips
