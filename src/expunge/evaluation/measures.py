"""A metric is declared once: its name, which way is better, and what may rest on it.

Tables, glossary, verdict, the rule of the utility and the thresholds of a recipe read the declarations. The metrics
that any set can have are declared beside their functions (`set_metrics`, `membership`), a benchmark's own in its
folder; `expunge.benchmarks.measures` knows all of them. A user's package declares its own under the entry point
`expunge.metrics`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from ..errors import InputError, Problem
from ..registry import Registry
from .log import QuestionRecord
from .metric import Metric

#: A metric tells one of these: whether the model is like one that never saw the data, what it recalls of a set, what
#: it is still good for, whether an outsider can tell what it was trained on, how it writes.
Role = Literal["quality", "memory", "utility", "privacy", "fluency"]
#: The aim where more and less are both wrong; in words of its own where there is no reference.
AS_REFERENCE, AS_UNSEEN = "as the reference", "as a model that never saw it"
HIGHER, LOWER = "higher is better", "lower is better"
#: Evaluation set → its name in tables, in their order. Benchmarks add their own.
SETS = {"forget": "Forget set", "retain": "Retain set", "holdout": "Holdout"}


@dataclass(frozen=True)
class Measure:
    """The declaration of one metric.

    name, label: files call it by its name, tables by its label
    better:      which way is better
    term, words: the glossary's name for it, and its explanation for a reader who has to decide, not to compute
    role:        see `Role`
    unit:        shown behind the label where it is more than a share between 0 and 1
    place:       where it stands in tables and glossary; smaller is earlier
    group:       the set that it is of; None for a metric of the whole model
    forgetting:  which way it goes as the forget set is forgotten: a threshold is reached from there. None where it
                 does not tell, so that no threshold may stand on it
    preference:  utility and memory are judged by the smallest of those that were measured, where not None
    phrase:      its name in the sentences of the verdict
    generated:   whether it rests on answers that the model writes
    calibrated:  whether its value on text that the model never saw is a threshold (`expunge eval --calibrate`)
    chance:      the value that guessing reaches
    """

    name: str
    label: str
    better: str
    term: str
    words: str
    role: Role
    unit: str = ""
    place: int = 1000
    group: str | None = None
    forgetting: Literal["falls", "rises"] | None = None
    preference: int | None = None
    phrase: str = ""
    generated: bool = False
    calibrated: bool = False
    chance: float | None = None

    @property
    def title(self) -> str:
        """The label with its unit."""
        return f"{self.label} ({self.unit})" if self.unit else self.label

    @property
    def of_forget_set(self) -> bool:
        """Whether it tells of the forget set, not of what the model should keep."""
        return self.role != "utility" if self.group is None else self.group.startswith("forget")


@dataclass(frozen=True)
class SetMeasure(Measure):
    """The declaration of `{set}_{name}` for every evaluation set; `label` follows the set's.

    better:     of a set that the model should keep; the forget set is compared with the reference
    function:   the records of a set → the figure; None where they do not hold what it is made of. Without it the
                benchmark computes the figure
    everywhere: whether it is computed for every set of every benchmark; if not, benchmarks choose it
    """

    function: Callable[[Sequence[QuestionRecord]], Metric | None] | None = None
    everywhere: bool = True

    def of(self, group: str, **more: Any) -> Measure:
        """The declaration of `{group}_{name}`. more: the fields that differ from those for any set"""
        mine = {field.name: getattr(self, field.name) for field in fields(Measure)}
        of_forget_set = group.startswith("forget")
        better = AS_REFERENCE if of_forget_set else self.better
        if group.startswith("holdout"):  # what was never learnt should neither be lost nor come to be known
            better = "as before"
        role = "utility" if self.role == "memory" and not of_forget_set else self.role
        stated = {
            "name": f"{group}_{self.name}",
            "label": f"{SETS.get(group, group.replace('_', ' ').capitalize())}: {self.label}",
            "better": better,
            "role": role,
            "group": group,
            "forgetting": self.forgetting if of_forget_set else None,
        }
        return Measure(**{**mine, **stated, **more})


#: Every declaration by name; a `SetMeasure` by the part of the name that follows the set's.
measures: Registry[Measure] = Registry(
    "metric",
    "stopping.thresholds",
    group="expunge.metrics",
    of="expunge.evaluation.measures:Measure",
    builtin={},
)


def declare(measure: Measure) -> Measure:
    """Add a declaration under its own name. Raises `InputError` where a package has one of that name."""
    if measure.name in measures:
        raise InputError(
            Problem(f"expunge.metrics: {measure.name}", f"the metric {measure.name!r} is declared twice.",
                    "Have the package that adds it call it something else, or uninstall the package.")
        )  # fmt: skip
    return measures.register(measure.name, measure)


def declared(name: str) -> Measure | None:
    """The declaration of the metric `name`: its own, else that of its kind for its set; None where there is none."""
    if name in measures and not isinstance(measures[name], SetMeasure):
        return measures[name]
    kinds = [kind for kind in set_measures() if name.endswith(f"_{kind.name}")]
    if not kinds:
        return None
    kind = max(kinds, key=lambda kind: len(kind.name))
    return kind.of(name.removesuffix(f"_{kind.name}"))


def set_measures() -> list[SetMeasure]:
    """The declarations for every set; those of a package that cannot be imported are left out (`check_measures`)."""
    return [measure for measure in measures.loadable()[0].values() if isinstance(measure, SetMeasure)]


def check_measures() -> None:
    """Raise `InputError` for every package whose metric cannot be imported, or is called otherwise than its entry."""
    things, problems = measures.loadable()
    problems += [
        Problem(f"expunge.metrics: {name}", f"its metric calls itself {measure.name!r}.",
                "Have the package use one name for both.")
        for name, measure in things.items()
        if measure.name != name
    ]  # fmt: skip
    if problems:
        raise InputError(problems)


def label(name: str) -> tuple[str, str]:
    """The name of a metric in tables, and which way is better. A name without a declaration stays."""
    measure = declared(name)
    return (measure.title, measure.better) if measure else (name, "")


def in_order(names: Collection[str]) -> list[str]:
    """The names of metrics in the order of the tables: those of the whole model, then set by set, then unknown ones."""
    groups = list(SETS)

    def place(name: str) -> tuple[Any, ...]:
        measure = declared(name)
        if measure is None:
            return 2, name
        if measure.group is None:
            return 0, measure.place, name
        known = measure.group in groups
        return 1, groups.index(measure.group) if known else len(groups), measure.group, measure.place, name

    return sorted(names, key=place)


def preferred(role: Role, *sides: Collection[str]) -> list[str]:
    """The names that every side has and that count for `role`, best first."""
    shared = [
        measure for name in sides[0] if (measure := declared(name)) and all(name in side for side in sides)
    ]
    counting = [measure for measure in shared if measure.role == role and measure.preference is not None]
    return [measure.name for measure in sorted(counting, key=lambda measure: measure.preference or 0)]


def phrase(name: str) -> str:
    """The name of a metric in sentences."""
    measure = declared(name)
    return (measure.phrase or measure.label) if measure else name


def calibrated() -> list[str]:
    """The metrics whose values on text that the model never saw are thresholds."""
    return [measure.name for measure in measures.loadable()[0].values() if measure.calibrated]
