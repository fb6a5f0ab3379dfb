"""Attacks on a model that was handed over: measured side by side with the reference, compared, and recorded."""

from __future__ import annotations

import gc
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from torch import Tensor

from .._version import __version__
from ..attacks.attack import Attack, Curve, Item, Measured, Subject, Variant
from ..attacks.items import drawn
from ..attacks.leaks import Leak
from ..attacks.measuring import attacked, measured
from ..attacks.recovery import Ground, recovery
from ..attacks.registry import attacks
from ..attacks.settings import CHEAP_ITEMS, LEAST_STANDING_IN, Budget
from ..data.encoding import Encoder, encoded_hash
from ..errors import InputError, Problem
from ..folder.attacks import ROLES, AttackFolder, CurveRecord, Measurement, Role, Values
from ..folder.state import AttackFacts, AttackOutcome, AttackVariant
from ..models.half_precision import passing_in
from ..models.processes import processes, refuse_shards
from ..progress import say
from ..storage import hash_rows

Load = Callable[[], Any]


@dataclass(frozen=True)
class Target:
    """A model that was handed over, and what is known about it.

    original, after, reference: load the models from before, from after, and one that never saw the forget set; without
               that one the holdout stands in, where there is one
    identity:  what tells these models from others
    forget, retain, holdout: all of the sets
    change:    layer → A, B of the adapter that leads from the original to the model; empty where it is not known
    watch:     is given every model that is loaded, to count its work
    answers:   whether the forget loss aims at the answers that the model writes, and so they count
    leak:      which text counts as a leak
    """

    original: Load
    after: Load
    reference: Load | None
    reference_path: str | None
    identity: Mapping[str, Any]
    encoder: Encoder
    forget: Sequence[Item]
    retain: Sequence[Item] = ()
    holdout: Sequence[Item] = ()
    change: Mapping[str, tuple[Tensor, Tensor]] = field(default_factory=dict)
    watch: Callable[[Any], None] = field(default=lambda model: None)
    answers: bool = False
    leak: Leak = field(default_factory=Leak)
    seed: int = 42

    @property
    def ground(self) -> Ground:
        return "reference" if self.reference else "holdout" if self.holdout else "none"


def run_attacks(
    target: Target, folder: AttackFolder, budget: Budget, names: Sequence[str] | None = None
) -> AttackFacts:
    """Make every attack of the budget, or those of it that are named, and compare.

    What `folder` holds of the same models, questions and budget is not measured again, and is part of the result; every
    variant is written as it ends. Several processes share the work: all must call it alike, and the first writes.

    Raises `InputError` with every name of no attack, and of one that is beyond the budget.
    """
    refuse_shards("attacks, which change the weights, are not possible")
    return _Attacks(target, folder, budget, names).made()


def of_budget(budget: Budget) -> dict[str, type[Attack]]:
    """The attacks that a budget has time for, by name. Those of other packages that cannot be imported are left out,
    and the user is told."""
    known, problems = attacks.loadable()
    for problem in problems:
        say(f"Left out: {problem}")
    return {name: attack for name, attack in known.items() if budget == "full" or attack.budget == "cheap"}


def check_names(names: Sequence[str], budget: Budget) -> None:
    """Raise `InputError` with every name of no attack, and of one that is beyond the budget."""
    problems = [attacks.problem(name) for name in names if name not in attacks]
    problems += [
        Problem(name, f"this attack takes more than the budget {budget}.", "Add --budget full.")
        for name in names
        if name in attacks and budget == "cheap" and attacks[name].budget == "full"
    ]
    if problems:
        raise InputError(problems)


class _Attacks:
    """Some attacks in the making. One model is in memory at a time, save for what an attack loads itself."""

    def __init__(self, target: Target, folder: AttackFolder, budget: Budget, names: Sequence[str] | None):
        check_names(names or (), budget)
        self.target = target
        self.folder = folder
        self.budget = budget
        self.attacks: dict[str, Attack] = {name: attack() for name, attack in of_budget(budget).items()}
        self.chosen = names or list(self.attacks)
        limit = CHEAP_ITEMS if budget == "cheap" else None
        self.forget, self.retain, self.holdout = (
            drawn(items, limit, target.seed) for items in (target.forget, target.retain, target.holdout)
        )
        self.answers = target.answers or budget == "full"
        self.lead: Literal["probability", "rouge"] = "rouge" if target.answers else "probability"
        processes().wait_for_everyone()  # nobody writes before all have read
        self.records = {name: folder.read(name, self.basis_of(name)) for name in (*self.attacks, PLAIN)}
        processes().wait_for_everyone()

    @cached_property
    def stand_ins(self) -> list[Item]:
        """What of the holdout is asked in the place of what the reference says of the forget set."""
        limit = max(len(self.forget), LEAST_STANDING_IN) if self.budget == "cheap" else None
        return drawn(self.holdout, limit, self.target.seed)

    @cached_property
    def basis(self) -> str:
        asked = [
            encoded_hash([item.example for item in part]) for part in (self.forget, self.retain, self.holdout)
        ]
        if self.target.ground == "holdout" and len(self.stand_ins) < len(self.holdout):
            asked.append(encoded_hash([item.example for item in self.stand_ins]))
        return hash_rows(
            [dict(self.target.identity), asked, self.budget, self.answers, self.target.seed, __version__]
        )

    def basis_of(self, name: str) -> str:
        """That of an attack: its own settings as well, and of those that count leaks what counts as one."""
        if name not in self.attacks:
            return self.basis
        attack = self.attacks[name]
        stated: list[Any] = [[key, repr(value)] for key, value in sorted(attack.settings.items())]
        if attack.counts_leaks:
            stated += [] if self.target.leak == Leak() else [self.target.leak.recall]
            keywords = [item.keywords for item in (*self.forget, *self.holdout)]
            stated += [keywords] if any(keywords) else []
        return hash_rows([self.basis, *stated]) if stated else self.basis

    @property
    def sides(self) -> list[Role]:
        return [side for side in ROLES if side != "reference" or self.target.ground != "none"]

    def made(self) -> AttackFacts:
        of, several = len(self.target.forget), "s" * (len(self.chosen) != 1)
        say(
            f"  {len(self.chosen)} attack{several} ({self.budget}) on {len(self.forget)} of {of} items to forget: "
            f"{', '.join(self.chosen)}"
        )
        for side in self.sides:
            if not all(self._is_over(name, side) for name in (PLAIN, *self.chosen)):
                self._ask(side)
                gc.collect()
        over = [name for name in self.attacks if all(self._is_over(name, side) for side in self.sides)]
        return AttackFacts(
            budget=self.budget,
            ground=self.target.ground,
            reference=self.target.reference_path,
            items=len(self.forget),
            of=of,
            outcomes={name: self._outcome(name, self.attacks[name]) for name in over},
            missing=[
                name for name, attack in self.attacks.items() if attack.budget == "cheap" and name not in over
            ],
            beyond=[
                name
                for name, attack in of_budget("full").items()
                if attack.budget == "full" and name not in over
            ],
        )

    def _is_over(self, name: str, side: Role) -> bool:
        record = self.records[name]
        return side in record.over or record.unfit is not None

    def _ask(self, side: Role) -> None:
        """Make every attack on one of the models that has not been made on it yet."""
        subject = self._subject(side)
        plain = self.records[PLAIN]
        if side not in plain.over:
            with passing_in("fp32"):  # what rounding alone brings back must not be there before it
                values = measured(
                    subject.model, subject.encoder, subject.forget, self.answers, f"{WORDS[side]}, as is"
                )
            plain.measured.setdefault(side, {})[PLAIN] = Measurement(plain=_values(values))
            self._over(PLAIN, side)
        for name in self.chosen:
            record, attack = self.records[name], self.attacks[name]
            if self._is_over(name, side):
                continue
            if side == "after" and (reason := attack.unfit(subject)):
                self.records[name] = record.model_copy(update={"unfit": reason})
                self._write(name)
                continue
            there = record.measured.setdefault(side, {})
            asked = record.measured["after"]
            for variant in attack.variants(subject):
                if variant.name in there or (side != "after" and variant.name not in asked):
                    continue
                there[variant.name] = self._measured(side, subject, name, variant)
                self._write(name)
            self._over(name, side)

    def _subject(self, side: Role) -> Subject:
        load = {"after": self.target.after, "original": self.target.original}.get(side, self.target.reference)
        stood_in = load is None  # by the holdout, about which the model that was handed over is asked
        model = (load or self.target.after)()
        self.target.watch(model)
        return Subject(
            model=model,
            encoder=self.target.encoder,
            forget=self.stand_ins if stood_in else self.forget,
            retain=self.retain,
            holdout=self.holdout,
            role="after" if stood_in else side,
            original=self.target.original,
            reference=self.target.reference,
            change=self.target.change if side == "after" or stood_in else {},
            answers=self.answers,
            lead=self.lead,
            leak=self.target.leak,
            budget=self.budget,
            seed=self.target.seed,
        )

    def _measured(self, side: Role, subject: Subject, name: str, variant: Variant) -> Measurement:
        started = time.perf_counter()
        told = f"{WORDS[side]}: {name}, {variant.name}"
        result: Measured | Curve | None = None
        if side != "original" or variant.score:
            say(f"  {told}")
            result = attacked(variant, subject, told)
        plain: Values | None = None
        if variant.plain is not None:
            plain = _values(
                measured(subject.model, subject.encoder, variant.plain, self.answers, f"{told}, as is")
            )
        elif variant.rows is not None:
            whole = self.records[PLAIN].measured[side][PLAIN].plain or {}
            plain = {measure: [values[row] for row in variant.rows] for measure, values in whole.items()}
        return Measurement(
            attacked=_recorded(result),
            plain=plain,
            facts=dict(variant.facts),
            seconds=time.perf_counter() - started,
        )

    def _over(self, name: str, side: Role) -> None:
        record = self.records[name]
        self.records[name] = record.model_copy(update={"over": [*record.over, side]})
        self._write(name)

    def _write(self, name: str) -> None:
        if processes().is_main_process:
            self.folder.write(name, self.records[name])

    def _outcome(self, name: str, attack: Attack) -> AttackOutcome:
        record = self.records[name]
        asked = {} if record.unfit else record.measured.get("after", {})
        compared = {variant: self._compared(name, attack, variant) for variant in asked}
        variants = {variant: found for variant, found in compared.items() if found is not None}
        return AttackOutcome(
            title=attack.title,
            counts=attack.counts,
            unfit=NOT_ANSWERED if asked and not variants else record.unfit,
            seconds=sum(one.seconds for side in record.measured.values() for one in side.values()),
            variants=variants,
        )

    def _compared(self, name: str, attack: Attack, variant: str) -> AttackVariant | None:
        """What a variant brought back by every measure: the same attack on both models, the original without any.

        None where by no measure a single item has a value of every model: there is nothing to compare.
        """
        measurements = {side: self.records[name].measured.get(side, {}).get(variant) for side in self.sides}
        whole = {side: self.records[PLAIN].measured[side][PLAIN].plain or {} for side in self.sides}
        plain = {
            side: (one.plain if one and one.plain is not None else whole[side])
            for side, one in measurements.items()
        }
        attack_values = {
            side: _worst(one.attacked) if one and one.attacked is not None else plain[side]
            for side, one in measurements.items()
        }
        theirs = "reference" in self.sides
        recoveries = {}
        for measure in attack_values["after"]:
            own = measure not in plain["after"]  # a score of the attack's own
            if any(measure not in attack_values[side] for side in self.sides):
                continue  # as of a holdout that is too small for it
            found = recovery(
                _numbers((attack_values if own else plain)["original"][measure]),
                None if own else _numbers(plain["after"][measure]),
                _numbers(attack_values["after"][measure]),
                _numbers(plain["reference"][measure]) if theirs and not own else (),
                _numbers(attack_values["reference"][measure]) if theirs else (),
                self.target.ground,
            )
            if found is not None:
                recoveries[measure] = found
        if not recoveries:
            return None
        lead = self.lead if self.lead in recoveries else next(iter(recoveries))
        curves = {
            side: {step: _mean(values[lead]) for step, values in one.attacked.steps.items()}
            for side, one in measurements.items()
            if one and isinstance(one.attacked, CurveRecord)
        }
        ours = measurements["after"]
        facts = dict(ours.facts) if ours else {}
        if ours and isinstance(ours.attacked, CurveRecord):
            facts |= ours.attacked.facts
        return AttackVariant(
            lead=lead, recoveries=recoveries, curves=curves, facts=facts, two_sided=attack.two_sided
        )


#: Why nothing follows from an attack that was made.
NOT_ANSWERED = "there is no item that every model was asked and gave a value for"
#: The record of what the models say without any attack.
PLAIN = "unattacked"
WORDS: dict[Role, str] = {"after": "unlearned", "reference": "reference", "original": "original"}


def _values(values: Measured) -> Values:
    return {name: [value if math.isfinite(value) else None for value in row] for name, row in values.items()}


def _numbers(values: Sequence[float | None]) -> list[float]:
    return [math.nan if value is None else value for value in values]


def _mean(values: Sequence[float | None]) -> float:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else 0.0


def _recorded(result: Measured | Curve | None) -> Values | CurveRecord | None:
    if isinstance(result, Curve):
        steps = {step: _values(values) for step, values in result.steps.items()}
        return CurveRecord(steps=steps, worst=result.worst, facts=dict(result.facts))
    return None if result is None else _values(result)


def _worst(values: Values | CurveRecord) -> Values:
    return values.steps[values.worst] if isinstance(values, CurveRecord) else values
