"""The forget set and the retain set of a recipe, read and checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ..errors import InputError, Problem
from ..progress import say
from .likeness import LEAST, WORDS, content, resembling
from .rows import Unreachable
from .sample_set import SampleSet
from .settings import Data

#: Set that may share no sample with the forget set → what would come of it.
OVERLAPS = {
    "retain": "they would be forgotten and kept at once",
    "holdout": "it is for what the model never saw",
}


@dataclass(frozen=True)
class UnlearningData:
    """The samples that must go and those that must stay. format: tofu, muse, tdec, or qa, chat or text, as recognised.

    retain:  None where there is none, or it is yet to be sampled from the model (`data.retain: self`)
    holdout: samples like those to forget that the model never saw
    """

    format: str
    forget: SampleSet
    retain: SampleSet | None
    holdout: SampleSet | None = None


def load_data(data: Data, retain_needed: bool) -> UnlearningData:
    """Read the sets of a recipe's section `data`.

    Raises `InputError` with every problem that it can tell at once: missing files and columns, empty sets, rows
    without an answer, samples that are in both sets, no retain set where the objective needs one.
    """
    sources = data.sources()
    if data.retains_itself:
        sources["retain"] = None
    problems: list[Problem] = []
    sets: dict[str, SampleSet] = {}
    kinds: dict[str, str] = {}
    for side, source in sources.items():
        if source is None:
            continue
        try:
            sets[side], kinds[side] = data.read(side, source)
        except InputError as error:
            problems += error.problems
            if isinstance(error, Unreachable) and data.one_data_set:
                break  # the other sides are splits of the same data set
    if retain_needed and sources["retain"] is None and not data.retains_itself:
        problems.append(
            Problem("data.retain", "the retain loss needs a retain set and there is none.",
                    "Name one, or set it to self (samples of the model itself), or objective.retain to none.")
        )  # fmt: skip
    if not problems and data.disjoint:
        problems += overlaps(sets, "data.")
    if problems:
        raise InputError(list(dict.fromkeys(problems)))  # a folder that is missing is so for every set
    return UnlearningData(kinds["forget"], sets["forget"], sets.get("retain"), sets.get("holdout"))


def overlaps(sets: Mapping[str, SampleSet], prefix: str) -> list[Problem]:
    """The problems of sets that share samples with the one to forget, and of a holdout that shares some with what is to
    be kept; `prefix` comes before their names.

    Samples that differ in case, space and punctuation alone are the same. Samples that only resemble one another are
    no problem: the user is told of them.
    """
    problems: list[Problem] = []
    for side in OVERLAPS:
        if side in sets:
            problems += _overlap(sets["forget"], sets[side], side, prefix)
            if not problems:
                _say_what_resembles(sets["forget"], sets[side], side, prefix)
    if "retain" in sets and "holdout" in sets:
        problems += _trained_holdout(sets["holdout"], sets["retain"], prefix)
    return problems


def _trained_holdout(holdout: SampleSet, retain: SampleSet, prefix: str) -> list[Problem]:
    shared = _shared(holdout, retain)
    if not shared:
        return []
    first, second = shared[0]
    return [
        Problem(f"{prefix}holdout",
                f"{len(shared)} of its samples are in the retain set as well, first row {first} of {holdout.source!r} "
                f"as row {second} of {retain.source!r}.",
                f"Take them out of the holdout: {OVERLAPS['holdout']}, and what is kept is trained on.")
    ]  # fmt: skip


def _shared(samples: SampleSet, others: SampleSet) -> list[tuple[int, int]]:
    """(row in `samples`, a row in `others` that says the same), both counted from 1."""
    there = {content(sample): number for number, sample in enumerate(others.samples, start=1)}
    return [
        (number, there[said])
        for number, sample in enumerate(samples.samples, start=1)
        if (said := content(sample)) in there
    ]


def _overlap(forget: SampleSet, other: SampleSet, side: str, prefix: str) -> list[Problem]:
    shared = _shared(forget, other)
    if not shared:
        return []
    first, second = shared[0]
    exact = set(other.samples)
    inexact = sum(forget.samples[number - 1] not in exact for number, _ in shared)
    apart = f", {inexact} of them but for case, space, punctuation or format" if inexact else ""
    return [
        Problem(f"{prefix}{side}",
                f"{len(shared)} of the forget samples are in the {side} set as well{apart}, first row {first} of "
                f"{forget.source!r} as row {second} of {other.source!r}.",
                f"Take them out of the {side} set: {OVERLAPS[side]}.")
    ]  # fmt: skip


def _say_what_resembles(forget: SampleSet, other: SampleSet, side: str, prefix: str) -> None:
    pairs = resembling(forget.samples, other.samples)
    if pairs:
        first, second, index = max(pairs, key=lambda pair: pair[2])
        say(
            f"{prefix}{side}: {len(pairs)} of the forget samples resemble one of the {side} set (at least "
            f"{LEAST:.0%} of their {WORDS} words in a row are the same), most row {first + 1} of {forget.source!r} "
            f"and row {second + 1} of {other.source!r} ({index:.0%}). Take them out where they say the same."
        )
