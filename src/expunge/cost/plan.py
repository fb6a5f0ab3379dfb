"""`expunge validate` tells from shapes alone what a run would do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..errors import InputError
from ..folder.begun import is_begun
from ..folder.run import RunFolder
from ..models.linear import matrix_shape
from ..models.loading import empty_model
from ..progress import say
from ..recipe import Recipe, dump_recipe
from ..recipe.loading import naming_recipe
from ..recipe.requests import load_requests
from ..run.checks import check_adapter, check_objective, unreached_facts
from ..run.inputs import Inputs, check_requests
from ..run.surrogate import surrogate_size
from .model import Cost, CostModel


def plan(source: str | Path | Mapping[str, Any], overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Tell the resolved recipe, optimiser steps, trainable parameters, and the cost of every phase.

    For a list of forget sets: the steps of all requests, the largest of their peaks, and under `requests` their plans.
    Reads the data and the model's configuration, not its weights. Raises `InputError` with every mistake.
    """
    with naming_recipe(source):
        loaded = load_requests(source, overrides)
        if isinstance(loaded, Recipe):
            return _plan(Inputs(loaded))
        plans = [_plan(inputs) for inputs in check_requests(loaded)]
    return {
        "recipe": loaded.dump(),
        "requests": plans,
        "format": plans[0]["format"],
        "forget_samples": sum(request["forget_samples"] for request in plans),
        "retain_samples": plans[0]["retain_samples"],
        "steps": sum(request["steps"] for request in plans),
        "trainable_parameters": plans[0]["trainable_parameters"],
        "unreached": plans[0]["unreached"],
        "peak_memory_bytes": max(
            (request["peak_memory_bytes"] for request in plans), key=lambda peak: peak or 0
        ),
        "lines": [
            line
            for number, (forget, request) in enumerate(zip(loaded.forget, plans, strict=True), start=1)
            for line in (f"request {number}: forget {forget}", *(f"  {line}" for line in request["lines"]))
        ],
    }


def _plan(inputs: Inputs) -> dict[str, Any]:
    recipe, data = inputs.recipe, inputs.data
    method = inputs.method
    walked = inputs.forget if inputs.objective.walked == "forget" else inputs.retain
    longest = max(len(example) for example in walked)
    model = empty_model(method.source)
    part = method.part(model)
    if method.adapts:
        targets = check_adapter(part, recipe)
        check_objective(part, inputs.objective, targets)
        trainable = sum(recipe.adapter.rank * sum(matrix_shape(module)) for module in targets.values())
        what = [f"adapter: {len(targets)} layers, {trainable:,} trainable parameters"]
        unreached = unreached_facts(part, recipe, targets)
        if unreached.kinds:
            what.append(f"left out: {unreached.line}")
    else:
        unreached = None
        trainable = sum(parameter.numel() for parameter in part.parameters())
        what = [f"weights: all {trainable:,} parameters are trained"]
    training = inputs.training
    steps = training.steps_an_epoch(len(walked))
    costs = predicted_costs(inputs, model)
    kept, itself = len(data.retain.samples) if data.retain else 0, recipe.data.retains_itself
    if itself:
        kept = surrogate_size(recipe.data, len(inputs.forget))
    like = (
        f", at most {inputs.neighbours_wanted} questions like those to forget beside them"
        if inputs.neighbours_wanted
        else ""
    )
    few = inputs.too_few_for_utility()
    return {
        "recipe": dump_recipe(recipe),
        "format": data.format,
        "forget_samples": len(data.forget.samples),
        "retain_samples": kept,
        "neighbours": inputs.neighbours_wanted,
        "steps": steps * training.epochs,
        "trainable_parameters": trainable,
        "unreached": unreached.model_dump() if unreached else None,
        "peak_memory_bytes": max((cost.peak_memory_bytes for cost in costs.values()), default=None),
        "phases": {name: asdict(cost) for name, cost in costs.items()},
        "lines": [
            f"data: {data.format}, {len(data.forget.samples)} samples to forget, "
            f"{kept} to keep{' (sampled from the model itself when it runs)' if itself else ''}{like}, "
            f"longest {longest} tokens",
            *([few] if few else []),
            f"training: {training.epochs} epochs of {steps} steps, batch {training.batch_size}, learning rate "
            + (
                f"found in at most {recipe.tuning.trials} trials"
                if method.finds_rate
                else f"{training.learning_rate:g}"
            ),
            f"method: {recipe.method.name}: {method.formula}",
            *what,
            *_lines(costs),
            *(
                [f"beside it: the attacks ({recipe.attacks.budget}), whose time is not predicted"]
                if costs and recipe.attacks.budget != "none" and _can_be_attacked(inputs)
                else []
            ),
            f"output: {recipe.output_folder}{_taken(Path(recipe.output_folder))}",
        ],
    }


def _can_be_attacked(inputs: Inputs) -> bool:
    """Whether there is something to compare with: a reference that is a model, or a holdout."""
    return bool(
        inputs.data.holdout or (inputs.recipe.evaluation.reference and not inputs.given_reference_log)
    )


def predicted_costs(inputs: Inputs, model: Any) -> dict[str, Cost]:
    """{phase: predicted cost}; empty, with a word why, for a model that cannot run without content."""
    try:
        costs = CostModel(inputs, model)
        phases = costs.phases()
    except (NotImplementedError, RuntimeError, TypeError, AttributeError) as error:
        # Code of other architectures (sparse experts, a model's own Python) may look at numbers that are not there.
        say(f"The cost of this architecture cannot be predicted: {error}")
        return {}
    if costs.passes.untried:
        say(
            f"Times are counted, not tried: a block is too large to try here ({', '.join(costs.passes.untried)})."
        )
    return phases


def _taken(folder: Path) -> str:
    """Say that `run` would refuse the folder as it is, and what to do; empty where it would not."""
    try:
        exists = is_begun(folder, RunFolder(folder).state_file, resume=True)
    except InputError as error:
        return f" ({error.problems[0].reason} {error.problems[0].remedy})"
    return (
        " (a run is there already: go on with it by --resume, or choose another --output)" if exists else ""
    )


def _lines(costs: dict[str, Cost]) -> list[str]:
    if not costs:
        return []
    total = sum((cost for cost in costs.values()), Cost())
    by_phase = ", ".join(f"{name} {_duration(cost.seconds)}" for name, cost in costs.items())
    highest = max(costs, key=lambda name: costs[name].peak_memory_bytes)
    spread = ""
    if total.later:
        least, most = _duration(total.seconds - total.sooner), _duration(total.seconds + total.later)
        spread = f" ({least} to {most}, by how many trials are left early)"
    return [
        f"time: about {_duration(total.seconds)}{spread} on this device with nothing else to do: {by_phase}",
        f"memory: about {total.peak_memory_bytes / 1e9:.2f} GB at the peak, in {highest}",
    ]


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
