"""Evaluation logs that a recipe names to save measuring a model again, checked against what the run would measure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import InputError, Problem
from ..evaluation.benchmark import Benchmark
from ..evaluation.log import EvaluationLog
from ..recipe.schema import Recipe

REMEDY = "Name another log, or a model, or leave the key out."
#: What logs of other tools are compared by, which do not say what they are of: Forget Quality needs no other set.
OF_OTHER_TOOLS = ("forget",)


def read_given_log(recipe: Recipe, side: str, benchmark: Benchmark, complete: bool) -> EvaluationLog | None:
    """The log that `evaluation.{side}` names; None where it names a model or nothing.

    side:     before or reference
    complete: whether the benchmark has all its sets; while a retain set is to be sampled its hash is not known

    Raises `InputError` where the log is not of what `benchmark` measures.
    """
    given = getattr(recipe.evaluation, side)
    if given is None or not Path(given).is_file():
        return None
    log = benchmark.read_log(given)
    reasons = list(_other_data(log, benchmark, complete))
    if log.metric_version != benchmark.metric_version:
        reasons.append(
            f"its metric version is {log.metric_version}, and this run's {benchmark.metric_version}."
        )
    if side == "before" and log.model.get("adapter"):
        reasons.append(f"it is of the model with the adapter {log.model['adapter']}, not of the original.")
    if recipe.evaluation.generate == "every" and not log.generated:
        reasons.append("it holds no generated answers, which evaluation.generate: every compares.")
    if reasons:
        raise InputError([Problem(f"evaluation.{side}: {given}", reason, REMEDY) for reason in reasons])
    benchmark.metrics(log, log)  # raises where it cannot be a reference
    return log


def _other_data(log: EvaluationLog, benchmark: Benchmark, complete: bool) -> Iterator[str]:
    """How the log's data differ, as far as it tells: by their hash, or by the number and the answers of its samples."""
    theirs, ours = log.data.get("hash"), str(benchmark.data.get("hash"))
    if theirs and theirs == ours:
        return
    truths = benchmark.truths()
    compared = [name for name in truths if name in OF_OTHER_TOOLS or (theirs and complete)]
    counts = [
        f"it holds {len(log.sets.get(name, []))} samples of the {name} set, and this run measures "
        f"{len(truths[name])}."
        for name in compared
        if len(log.sets.get(name, [])) != len(truths[name])
    ]
    if counts:
        yield from counts
    elif theirs and complete:
        yield f"it is of other data: their hash is {theirs[:12]}…, and that of this run's {ours[:12]}…."
    elif not theirs:
        yield from _other_answers(log, {name: truths[name] for name in compared})


def _other_answers(log: EvaluationLog, truths: Mapping[str, Sequence[str | None]]) -> Iterator[str]:
    for name, here in truths.items():
        pairs = [
            (record.truth, true)
            for record, true in zip(log.sets[name], here, strict=True)
            if record.truth is not None and true is not None
        ]
        other = sum(theirs.split() != ours.split() for theirs, ours in pairs)
        if 2 * other > len(pairs):  # tools write a few of the same answers in another way
            yield f"of its {len(pairs)} answers of the {name} set {other} are not those of this run."
