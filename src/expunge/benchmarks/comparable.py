"""Checks whether a log from a file is of what is measured here: the same questions, asked in the same way.

Figures of two models say something of the models only then.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InputError, Problem
from ..evaluation.log import EvaluationLog
from .benchmark import Benchmark

if TYPE_CHECKING:  # it loads torch, and logs are compared without
    from ..data.encoding import Encoder

#: Settings that tell only where answers were generated.
OF_GENERATION = ("max_new_tokens",)


@dataclass(frozen=True)
class Measured:
    """The data and settings that are measured here.

    hash:     of the data; None where it is not known
    hashes:   set → hash of its samples, where the benchmark or the log says
    truths:   set → the true answers of its samples, None where one is no text
    compared: the sets that figures compare with a reference's
    """

    metric_version: str
    hash: str | None
    hashes: Mapping[str, str]
    truths: Mapping[str, Sequence[str | None]]
    settings: Mapping[str, Any]
    compared: Sequence[str]


def measured_by(benchmark: Benchmark, encoder: Encoder) -> Measured:
    return Measured(
        benchmark.metric_version,
        benchmark.data.get("hash"),
        benchmark.data.get("hashes", {}),
        benchmark.truths(),
        benchmark.settings(encoder),
        benchmark.compared,
    )


def measured_in(log: EvaluationLog, compared: Sequence[str]) -> Measured:
    truths = {name: [record.truth for record in records] for name, records in log.sets.items()}
    data = log.data
    return Measured(
        log.metric_version, data.get("hash"), data.get("hashes", {}), truths, log.settings, compared
    )


def check_reference(reference: EvaluationLog, here: Measured) -> None:
    """Raises `InputError` where `reference` is of something else in what figures compare."""
    problems = [
        Problem(f"--reference: {reference.label}", reason, "Name a log of the same data, asked alike.")
        for reason in differences(reference, here)
    ]
    if problems:
        raise InputError(problems)


def differences(log: EvaluationLog, here: Measured, *, whole: bool = False) -> Iterator[str]:
    """Sentences that say how `log` is of other data, or of questions asked or figures computed in another way.

    whole: every set must be the same; else those that are compared. Logs of other tools know no hash: of them only
           these can be told
    """
    yield from _other_data(log, here, whole)
    yield from _other_way(log, here)


def _other_data(log: EvaluationLog, here: Measured, whole: bool) -> Iterator[str]:
    """Compare the data by their hashes, or by number and answers of the samples."""
    theirs = log.data.get("hash")
    if theirs and theirs == here.hash:
        return
    known = bool(theirs and here.hash)
    compared = [name for name in here.truths if name in here.compared or (whole and known)]
    counts = [
        f"it holds {len(log.sets.get(name, []))} samples of the {name} set, and here are "
        f"{len(here.truths[name])}."
        for name in compared
        if len(log.sets.get(name, [])) != len(here.truths[name])
    ]
    other = (
        [name for name in compared if log.data.get("hashes", {}).get(name) != here.hashes.get(name)]
        if log.data.get("hashes") and here.hashes
        else []
    )
    if counts:
        yield from counts
    elif other:
        yield f"its questions or answers of the {' and the '.join(other)} set are others than those here."
    elif known and (whole or not any(truth for name in compared for truth in here.truths[name])):
        yield f"it is of other data: their hash is {str(theirs)[:12]}…, and that of those here {str(here.hash)[:12]}…."
    else:
        yield from _other_answers(log, {name: here.truths[name] for name in compared})


def _other_way(log: EvaluationLog, here: Measured) -> Iterator[str]:
    if log.metric_version != here.metric_version:
        yield f"its metric version is {log.metric_version}, and the one here is {here.metric_version}."
    for name in sorted(log.settings.keys() & here.settings.keys()):
        theirs, ours = log.settings[name], here.settings[name]
        if theirs != ours and (log.generated or name not in OF_GENERATION):
            yield f"its {name.replace('_', ' ')} is {theirs!r}, and the one here is {ours!r}."


def _other_answers(log: EvaluationLog, truths: Mapping[str, Sequence[str | None]]) -> Iterator[str]:
    for name, here in truths.items():
        pairs = [
            (record.truth, true)
            for record, true in zip(log.sets[name], here, strict=True)
            if record.truth is not None and true is not None
        ]
        other = sum(theirs.split() != ours.split() for theirs, ours in pairs)
        if 2 * other > len(pairs):  # tools write a few of the same answers in another way
            yield f"of its {len(pairs)} answers of the {name} set {other} are not those here."
