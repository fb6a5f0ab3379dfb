"""What is checked of a recipe before any weights are read, by `validate` and by every run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..adapters.settings import RANK
from ..adapters.stack import read_origins
from ..benchmarks.registry import benchmarks
from ..data.encoding import Example
from ..data.sets import UnlearningData, load_data
from ..errors import InputError, Problem
from ..evaluation.measures import check_measures
from ..folder.state import UnreachedFacts, UnreachedKind
from ..importance import estimators
from ..importance.capture import check_layers
from ..importance.procedure import Procedure, choose_procedure
from ..methods import Method, method_of
from ..models.blocks import check_block
from ..models.linear import block_index, layer_kind, matrix_shape, target_layers, unreached
from ..models.loadable import check_loadable
from ..models.loading import load_config
from ..models.processes import refuse_shards
from ..models.settings import Model
from ..models.window import window_of
from ..objectives import Objective
from ..recipe.schema import Recipe
from ..settings import Section
from ..training.trackers import check_trackers
from .neighbours import neighbours_problems


def check_inputs(recipe: Recipe) -> UnlearningData:
    """The data, once all that shows without loading weights has been checked.

    Raises `InputError` with every problem of model, data and evaluation at once.
    """
    method = method_of(recipe)
    problems = method.problems()
    loaded: list[UnlearningData] = []
    checks = [
        lambda: check_loadable(recipe.model),
        lambda: read_origins(recipe.model.adapters),
        lambda: loaded.append(load_data(recipe.data, method.needs_retain)),
        lambda: check_trackers(recipe.training.report_to),
        lambda: procedure_of(recipe),
        check_measures,
        lambda: _check_shards(recipe, method),
    ]
    before, reference = recipe.evaluation.before, recipe.evaluation.reference
    if before is not None and not Path(before).is_file():
        problems.append(
            Problem("evaluation.before", f"there is no file {before!r}.", "Name a log, or leave the key out.")
        )
    if reference is not None and not Path(reference).is_file():
        checks.append(lambda: _check_reference(recipe, Model(path=reference)))
    for check in checks:
        try:
            check()
        except InputError as error:
            problems += error.problems
    name = recipe.benchmark
    if benchmarks[name].data is not None and recipe.data.format != name:
        problems.append(
            Problem("evaluation.benchmark", f"{name} needs {name.upper()}'s files.",
                    f"Set data.format to {name}, or the benchmark to memorization.")
        )  # fmt: skip
    if loaded:
        problems += neighbours_problems(recipe.data, loaded[0].format, method)
    if problems:
        raise InputError(problems)
    return loaded[0]


def _check_shards(recipe: Recipe, method: Method) -> None:
    """Raises `InputError` for what cannot be done on a base that is spread over the processes."""
    if not method.shards:
        refuse_shards(f"the method {recipe.method.name!r} cannot run")
    if recipe.model.quantization:
        refuse_shards("model.quantization is not possible")
    if "merged" in recipe.export:
        refuse_shards("the export 'merged', for which one process needs all weights, is not possible")
    if recipe.attacks.budget != "none":
        refuse_shards(
            "attacks, which change the weights, are not possible",
            "Set attacks.budget: none, and make them afterwards without FSDP: expunge attack RUN.",
        )
    if recipe.importance.official:
        refuse_shards("importance.official, whose batches depend on the processes, is not possible")


def procedure_of(recipe: Recipe) -> Procedure:
    """How importance is measured, and how the adapter follows from it. Raises `InputError` where it cannot be."""
    name, settings = recipe.adapter.initialization, recipe.importance
    if name not in estimators:  # nothing is measured
        return Procedure()
    return choose_procedure(
        name, perturb=settings.perturb, official=settings.official, passes=settings.passes
    )


def idle_keys(recipe: Recipe) -> dict[str, str]:
    """{key that the recipe gives another value than its default: why nothing asks for it}"""
    idle = {}
    start = recipe.adapter.initialization
    if start not in estimators:
        for key in ("official", "passes", "perturb"):
            if _is_changed(recipe.importance, key):
                idle[f"importance.{key}"] = f"the initialisation {start!r} measures no importance of a paper"
    if recipe.training.learning_rate != "auto" and _is_changed(recipe.tuning, "trials"):
        idle["tuning.trials"] = "training.learning_rate is given"
    return idle


def _is_changed(section: Section, key: str) -> bool:
    """A recipe that a run has written gives every key."""
    return getattr(section, key) != type(section).model_fields[key].default


def _check_reference(recipe: Recipe, reference: Model) -> None:
    """That it will load, and reads the original's tokens: it is measured on the same ids."""
    check_loadable(reference, "evaluation.reference")
    theirs, ours = (
        load_config(model, "evaluation.reference").get_text_config().vocab_size
        for model in (reference, recipe.model)
    )
    if theirs != ours:
        raise InputError(
            Problem("evaluation.reference", f"{reference.path!r} has {theirs} tokens, and the model that is to forget "
                    f"{ours}.", "Name a model that was made from the same one, without the forget set.")
        )  # fmt: skip


def check_window(recipe: Recipe, examples: Iterable[Example]) -> None:
    """Raises `InputError` for samples that are longer than what the model says it can see."""
    window = window_of(load_config(recipe.model))
    longest = max(map(len, examples), default=0)
    if longest > window:
        raise InputError(
            Problem("data.max_length", f"a sample of {longest} tokens does not fit into the model's window of "
                    f"{window}.", f"Set it to {window} or less: texts are cut into chunks, longer answers are cut off.")
        )  # fmt: skip


def check_adapter(model: Any, recipe: Recipe) -> dict[str, Any]:
    """The layers that the recipe adapts, by name.

    Raises `InputError` where they are none, where one is too small for the rank, or where their importance cannot be
    measured.
    """
    layers = target_layers(model, recipe.adapter.targets, recipe.adapter.layers)
    name, shape = min(
        ((name, matrix_shape(module)) for name, module in layers.items()), key=lambda item: min(item[1])
    )
    # A default is nobody's mistake, and a run's recipe.yaml no longer tells it from a number that was given: up to it a
    # smaller layer gets zeros in the place of what it has no room for.
    most = max(RANK, min(shape))
    if recipe.adapter.rank > most:
        raise InputError(
            Problem("adapter.rank", f"{recipe.adapter.rank} exceeds the smaller side of {name!r}, which is "
                    f"{shape[0]} x {shape[1]}.", f"Use at most {most}, or leave that layer out of the targets.")
        )  # fmt: skip
    if recipe.adapter.initialization in estimators:
        check_layers(model, layers)
    return layers


def unreached_facts(model: Any, recipe: Recipe, adapted: Iterable[str]) -> UnreachedFacts:
    """What the recipe's targets promise and no adapter reaches. adapted: names of the layers that one does"""
    same = {layer_kind(name) for name in adapted}
    counts: Counter[tuple[str, str]] = Counter()
    for parameter, weight in unreached(model, recipe.adapter.targets, recipe.adapter.layers).items():
        name = parameter.removesuffix(".weight")
        # The layers of a vision tower are often called as those of the part that reads text.
        kind = re.sub(r"\d+", "*", name) if layer_kind(name) in same else layer_kind(name)
        counts[kind, weight.reason] += weight.parameters
    every = sum(parameter.numel() for parameter in model.parameters())
    return UnreachedFacts(
        kinds=[
            UnreachedKind(kind=kind, reason=reason, parameters=count, share=count / every)
            for (kind, reason), count in sorted(counts.items())
        ],
        parameters=counts.total(),
        share=counts.total() / every,
    )


def check_objective(model: Any, objective: Objective, adapted: Iterable[str]) -> None:
    """Raises `InputError` where the model lacks the block whose hidden states the losses see, or where none of the
    `adapted` layers has an effect on them."""
    if objective.hidden_layer is None:
        return
    check_block(model, objective.hidden_layer)
    last = objective.last_block
    if last is not None and all((block_index(name) or 0) > last for name in adapted):
        raise InputError(
            Problem("objective.layer", f"the losses look at the hidden states after block {last}, and all adapted "
                    "layers come later: nothing would be trained.", "Choose a later block, or other adapter.targets.")
        )  # fmt: skip
