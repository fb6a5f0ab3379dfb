"""The evidence that a verdict is reached from, and the words that it is put in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from ..benchmarks.measures import preferred
from ..benchmarks.tofu.metrics import Shift
from ..evaluation.metric import Metric
from ..folder.state import AttackFacts, Ended
from ..training.selection import Futile
from .deliverable import DELIVERABLES

if TYPE_CHECKING:  # it loads torch
    from ..objectives.loss import Aim

SIGNIFICANCE = 0.05
HALF_WAY = 0.5
#: Samples below which a share of the utility is not judged.
LEAST_FOR_UTILITY = 30


class Tone(str, Enum):
    GOOD = "good"
    CAUTION = "caution"
    BAD = "bad"
    OPEN = "open"


class Forgetting(str, Enum):
    FORGOTTEN = "forgotten"
    PARTLY = "partly"
    NOT = "not forgotten"
    OVERSHOT = "overshot"
    NEVER_KNOWN = "nothing to forget"
    AS_ASKED = "forgotten as asked, attacks not run"
    UNRESOLVED = "forgotten as asked, attacks without a result"
    REDUCED = "recalled less"
    UNKNOWN = "not measured"

    @property
    def word(self) -> str:
        """Its name in `run.json`."""
        return "cannot be said" if self in (Forgetting.REDUCED, Forgetting.UNKNOWN) else self.value


@dataclass(frozen=True)
class Finding:
    tone: Tone
    title: str
    text: str


@dataclass(frozen=True)
class Evidence:
    """The evidence for a verdict. Metrics by name; empty where a stage was not evaluated.

    shift:    where the truth ratios after unlearning lie against the reference's, where both are known
    floor:    the share of the utility that has to be kept
    utility:  the metric that the run's rule took for the utility; None where the run does not say
    epoch:    the chosen epoch; last: whether it is the last one because the recipe asks for that, whatever the utility
    qualified: whether an epoch met the utility rule; the last one, where that was asked for
    aims:     the aim of the forget loss, on which the verdict rests: probabilities, or answers
    ended:    how the run ended that hands over no model, None where it does
    futile:   where nothing was forgotten, why: `unchanged` weights, or `no better`
    stopped:  why training stopped early, None where it did not
    failed:   whether the run ended with an error
    surrogate: the facts of `run.json` about the model's own samples that stood in for a retain set; empty where it
               was the user's
    limit:    a sentence on what the form in which the result is handed over does not give
    attacks:  what came of them, None where none were made
    rate_found: whether the learning rate was found by trials
    """

    before: Mapping[str, Metric] = field(default_factory=dict)
    after: Mapping[str, Metric] = field(default_factory=dict)
    reference: Mapping[str, Metric] = field(default_factory=dict)
    shift: Shift | None = None
    floor: float = 0.95
    utility: str | None = None
    epoch: int | None = None
    last: bool = False
    qualified: bool = True
    aims: Aim = "probabilities"
    ended: Ended | None = None
    futile: Futile | None = None
    stopped: str | None = None
    failed: bool = False
    surrogate: Mapping[str, Any] = field(default_factory=dict)
    limit: str = DELIVERABLES["adapter"].limit
    attacks: AttackFacts | None = None
    rate_found: bool = False


def rule_utility(recorded: str | None, *sides: Collection[str]) -> str | None:
    """The metric that the run's rule took for the utility, where every side has it.

    Earlier runs recorded none: of these it is the best one declared for it that every side has.
    """
    if recorded is not None and all(recorded in side for side in sides):
        return recorded
    return next(iter(preferred("utility", *sides)), None)


def judged_utility(
    recorded: str | None, floor: float, before: Mapping[str, Metric], after: Mapping[str, Metric]
) -> str | None:
    """The metric that the run's rule looked at; where it holds and the best one that was measured does not, that one.

    A run that writes answers of the chosen epoch alone chooses by a utility without them.
    """
    rule, best = (rule_utility(name, before, after) for name in (recorded, None))
    if rule is None or best is None:
        return rule
    held, holds = (after[name].value >= floor * before[name].value for name in (rule, best))
    return best if held and not holds else rule


def left_of_lost_answers(evidence: Evidence) -> float | None:
    """The share that is left of the answers that should stay if no gain makes up for a loss; None where that is as much
    as the utility rule asks for, or not measured."""
    before, after = (side.get("retain_kept") for side in (evidence.before, evidence.after))
    if evidence.ended or not before or not after or before.value <= 0:
        return None
    share = after.value / before.value
    return share if share < evidence.floor else None


def lower(metric: Metric) -> float:
    return metric.value if metric.low is None else metric.low


def upper(metric: Metric) -> float:
    return metric.value if metric.high is None else metric.high
