"""Evaluation logs that a recipe names to save measuring a model again, checked against what the run would measure."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ..benchmarks.benchmark import Benchmark
from ..benchmarks.comparable import differences, measured_by
from ..data.encoding import Encoder
from ..errors import InputError, Problem
from ..evaluation.log import EvaluationLog
from ..recipe.schema import Recipe
from ..storage import hash_files

REMEDY = "Name another log, or a model, or leave the key out."


def given_hash(recipe: Recipe, side: str) -> str | None:
    """A hash of the log that `evaluation.{side}` names; None where it names a model or nothing."""
    given = getattr(recipe.evaluation, side)
    return hash_files([Path(given)]) if given is not None and Path(given).is_file() else None


def read_given_log(
    recipe: Recipe, side: str, benchmark: Benchmark, encoder: Encoder, complete: bool, answers: bool
) -> EvaluationLog | None:
    """The log that `evaluation.{side}` names; None where it names a model or nothing.

    side:     before or reference
    complete: whether the benchmark has all its sets; while a retain set is to be sampled its hash is not known
    answers:  whether the loss aims at answers, by which the result is judged then

    Raises `InputError` where the log is not of what `benchmark` measures.
    """
    given = getattr(recipe.evaluation, side)
    if given is None or not Path(given).is_file():
        return None
    log = benchmark.read_log(given)
    here = measured_by(benchmark, encoder)
    if not complete:
        here = replace(here, hash=None)
    reasons = list(differences(log, here, whole=True))
    if side == "before" and log.model.get("adapter"):
        reasons.append(f"it is of the model with the adapter {log.model['adapter']}, not of the original.")
    generate = recipe.evaluation.generate
    if not log.generated and (generate == "every" or (answers and generate == "chosen")):
        reasons.append(f"it holds no generated answers, which evaluation.generate: {generate} compares.")
    if reasons:
        raise InputError([Problem(f"evaluation.{side}: {given}", reason, REMEDY) for reason in reasons])
    benchmark.metrics(log, log)  # raises where it cannot be a reference
    return log
