"""What a run works with: everything that its phases share, loaded and checked once."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..adapters.anchor import restore
from ..adapters.stack import read_origins
from ..data.encoding import Encoder, Example
from ..data.sets import SampleSet, UnlearningData, load_data
from ..data.substitutes import substitutes
from ..data.templates import Template, choose_template
from ..errors import InputError, Problem
from ..evaluation.benchmark import Benchmark
from ..evaluation.benchmarks import BenchmarkSource, open_benchmark
from ..evaluation.log import EvaluationLog
from ..evaluation.memorization import memorization_benchmark
from ..evaluation.tdec.benchmark import TdecBenchmark
from ..evaluation.tofu.benchmark import TofuBenchmark
from ..importance import estimators
from ..models.blocks import check_block
from ..models.fingerprint import fingerprint
from ..models.linear import block_index, matrix_shape, target_layers
from ..models.loading import load_config, load_model, load_tokenizer
from ..models.processes import device, processes
from ..objectives import Objective
from ..recipe.data import BENCHMARK_DATA, Data, MuseData, TofuData
from ..recipe.schema import Model, Recipe, Stopping
from ..storage import read_json, write_json
from .cost import CostMeter
from .folder import RunFolder, machine
from .methods import method_of
from .surrogate import Surrogate, take_or_sample

#: Retain samples that are kept out of training to measure utility on, at most, and as a share of the set.
HELD_OUT, HELD_OUT_SHARE = 400, 5
#: What the TDEC rule looks at (LoKU §4.1).
TDEC_METRICS = ("forget_extraction_likelihood", "forget_memorization_accuracy")


class Inputs:
    """Data, objective and benchmark of a recipe: what is read and checked before any weights are.

    Raises `InputError` with all problems of data, benchmark and model.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.data = check_inputs(recipe)
        self.tokenizer = load_tokenizer(recipe.model)
        self.encoder = make_encoder(self.tokenizer, recipe.data)
        held_out, self.forget, self.retain = encode_sets(self.data, self.encoder, recipe)
        self.method = method_of(recipe)
        self.objective = self.method.objective()
        self.substitutes = self._substitutes()
        self.thresholds = read_thresholds(recipe.stopping)
        self.benchmark = make_benchmark(recipe, self.encoder, self.data, held_out)

    def _substitutes(self) -> list[Example]:
        kind, settings = self.objective.forget.substitute, self.recipe.objective
        if kind is None:
            return []
        return substitutes(self.data.forget, kind, settings.substitutes, self.encoder, self.recipe.seed)


class Job(Inputs):
    """Inputs and model of a recipe, and the folder of its run.

    Making one reads and checks everything that can be wrong with the user's input, before anything is written.
    original_utility: what the utility rule takes its share of; None for that of the model that the run starts from
    """

    def __init__(self, recipe: Recipe, folder: Path, original_utility: float | None = None):
        super().__init__(recipe)
        self.folder = RunFolder(folder)
        self.original_utility = original_utility
        self.meter = CostMeter()
        self.main_process = processes().is_main_process
        self.base = load_model(recipe.model)
        if self.method.adapts:
            part = self.method.part(self.base)
            check_objective(part, self.objective, check_adapter(part, recipe))
        self.base_fingerprint = fingerprint(self.base)
        self.meter.watch(self.base)
        self.surrogate: Surrogate | None = None
        if recipe.data.retains_itself:
            self._sample_retain_set()
        self.before_log = self._given_log(recipe.evaluation.before, "evaluation.before")
        self.given_reference_log = self._given_log(recipe.evaluation.reference, "evaluation.reference")
        self._trained: Any = None

    def _sample_retain_set(self) -> None:
        """Complete the data and the benchmark by a retain set from the original model, once all else is checked."""
        found = take_or_sample(
            self.base,
            self.base_fingerprint,
            self.encoder,
            self.data.forget,
            len(self.forget),
            self.recipe,
            self.meter,
        )
        self.data = replace(self.data, retain=found.samples)
        held_out, _, self.retain = encode_sets(self.data, self.encoder, self.recipe)
        self.benchmark = make_benchmark(self.recipe, self.encoder, self.data, held_out)
        measured = {"held_out": len(held_out.samples) if held_out else 0}
        self.surrogate = replace(found, facts={**found.facts, **measured})

    @property
    def facts(self) -> dict[str, Any]:
        """What `run.json` says about the inputs."""
        parameters = list(self.base.parameters())
        count = sum(parameter.numel() for parameter in parameters)
        return {
            "machine": machine(device(), torch.get_num_threads()),
            "method": self.recipe.method.name,
            "deliverable": self.method.forms[0],
            "model": {
                "path": self.recipe.model.path,
                "revision": self.recipe.model.revision,
                "fingerprint": self.base_fingerprint,
                "parameters": count,
                "dtype": str(parameters[0].dtype).removeprefix("torch."),
                "bytes": sum(parameter.numel() * parameter.element_size() for parameter in parameters),
            },
            "data": {
                "format": self.data.format,
                "forget": self.data.forget.describe(),
                "retain": self.data.retain.describe() if self.data.retain else None,
                **({"surrogate": self.surrogate.facts} if self.surrogate else {}),
            },
            "phases": {"surrogate": self.surrogate.phase} if self.surrogate and self.surrogate.phase else {},
            "adapter": {
                "initialization": self.recipe.adapter.initialization,
                "rank": self.recipe.adapter.rank,
                "alpha": self.recipe.adapter.alpha,
            }
            if self.method.adapts
            else {"trainable_parameters": count},
        }

    @cached_property
    def start(self) -> Any:
        """The model that training starts from, or the part of it that carries the adapter."""
        source = self.method.source
        if source == self.recipe.model:
            return self.method.part(self.base)
        self.base.to("meta")  # it has been measured: the memory is for the other
        return self.method.part(load_model(source, "method.base"))

    @property
    def trained(self) -> Any:
        """The model in training; first as it is at step 0, restored from the run folder where it was made earlier."""
        if self._trained is None:
            model = self.start
            if self.method.adapts:
                model = restore(model, self.folder.initial_adapter, self.folder.reinforced_adapter)
            self.set_trained(model)
        return self._trained

    def set_trained(self, model: Any) -> None:
        self._trained = model
        self.meter.watch(model)

    @property
    def generates_every_time(self) -> bool:
        return self.recipe.evaluation.generate == "every"

    def evaluate(self, model: Any) -> EvaluationLog:
        """The benchmark's log of `model`, with generations unless the recipe says never."""
        if self.recipe.evaluation.generate == "never":
            return self.benchmark.measure(model, self.encoder)
        return self.benchmark.evaluate(model, self.encoder)

    def model_facts(self, model: Any, path: str | None = None, adapter: str | None = None) -> dict[str, Any]:
        """What an evaluation log says about the model that it is of."""
        return {"path": path or self.recipe.model.path, "fingerprint": fingerprint(model), "adapter": adapter}

    def record(self, log: EvaluationLog, name: str) -> EvaluationLog:
        """Give `log` its metrics and write it to `eval/{name}.json`, on the first process."""
        if not self.main_process:
            return log
        log.metrics = self.benchmark.metrics(log, log if name == "reference" else self.reference_log)
        write_json(self.folder.evaluation(name), log.to_json(), private=True)
        return log

    @property
    def reference_log(self) -> EvaluationLog | None:
        """The log of the model that never saw the forget set, once it is there."""
        file = self.folder.evaluation("reference")
        return self.benchmark.read_log(file) if file.exists() else None

    def _given_log(self, given: str | None, key: str) -> EvaluationLog | None:
        """The log that the recipe names under `key`, checked against this run's benchmark; None for a model."""
        if given is None or not Path(given).is_file():
            return None
        log = self.benchmark.read_log(given)
        checks: list[tuple[str, Any, Any]] = [
            ("metric version", log.metric_version, self.benchmark.metric_version)
        ]
        if log.data:  # the logs of others do not say what they are of
            checks.append(("data", log.data.get("hash"), self.benchmark.data.get("hash")))
        if key == "evaluation.before":
            checks += [
                ("model", log.model.get("fingerprint"), self.base_fingerprint),
                ("adapter", log.model.get("adapter"), None),
            ]
        if self.generates_every_time:
            checks.append(("state of having generations", log.generated, True))
        problems = [
            Problem(f"{key}: {given}", f"its {what} is {found}, but this run needs {wanted}.",
                    "Name another log, or a model, or leave the key out.")
            for what, found, wanted in checks
            if found != wanted
        ]  # fmt: skip
        if problems:
            raise InputError(problems)
        self.benchmark.metrics(log, log)  # raises where it cannot be a reference
        return log


def read_thresholds(stopping: Stopping) -> dict[str, float]:
    """Metric → threshold. Raises `InputError` for a file that holds none, and where the TDEC rule lacks one."""
    if stopping.rule is None or stopping.thresholds is None:
        return {}
    found: Any = stopping.thresholds
    if isinstance(found, str):
        try:
            found = read_json(Path(found))["thresholds"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                Problem("stopping.thresholds", f"{stopping.thresholds!r} holds no thresholds ({error!r}).",
                        "Name the file that `expunge eval --calibrate` wrote.")
            ) from None  # fmt: skip
    missing = [name for name in TDEC_METRICS if stopping.rule == "tdec" and name not in found]
    if missing:
        raise InputError(
            Problem("stopping.thresholds", f"the TDEC rule needs {' and '.join(missing)}.",
                    "Calibrate them by `expunge eval --benchmark tdec --calibrate`.")
        )  # fmt: skip
    return {name: float(value) for name, value in found.items()}


def check_inputs(recipe: Recipe) -> UnlearningData:
    """The data, once all that shows without loading weights has been checked.

    Raises `InputError` with every problem of model, data and evaluation at once.
    """
    method = method_of(recipe)
    problems = method.problems()
    found: list[UnlearningData] = []
    checks = [
        lambda: load_config(recipe.model),
        lambda: read_origins(recipe.model.adapters),
        lambda: found.append(load_data(recipe.data, method.needs_retain)),
    ]
    before, reference = recipe.evaluation.before, recipe.evaluation.reference
    if before is not None and not Path(before).is_file():
        problems.append(
            Problem("evaluation.before", f"there is no file {before!r}.", "Name a log, or leave the key out.")
        )
    if reference is not None and not Path(reference).is_file():
        checks.append(lambda: load_config(Model(path=reference), "evaluation.reference"))
    for check in checks:
        try:
            check()
        except InputError as error:
            problems += error.problems
    name = recipe.benchmark
    if name in BENCHMARK_DATA and not isinstance(recipe.data, BENCHMARK_DATA[name]):
        problems.append(
            Problem("evaluation.benchmark", f"{name} needs {name.upper()}'s files.",
                    f"Set data.format to {name}, or the benchmark to memorization.")
        )  # fmt: skip
    if problems:
        raise InputError(problems)
    return found[0]


def encode_sets(
    data: UnlearningData, encoder: Encoder, recipe: Recipe
) -> tuple[SampleSet | None, list[Example], list[Example]]:
    """The held-out retain samples, and the forget and retain examples that are trained on.

    Raises `InputError` for samples whose answer is cut off, and for fewer forget samples than the estimator needs.
    """
    forget = data.forget.encode(encoder)
    if data.retain:
        data.retain.encode(
            encoder
        )  # messages name a row by its place in the file: before the samples are shuffled
    held_out, trained = hold_out(data.retain, recipe)
    estimator = recipe.adapter.initialization
    if estimator in estimators:
        needed, there = (
            estimators[estimator].least_samples,
            min(len(forget), recipe.importance.samples or len(forget)),
        )
        if there < needed:
            raise InputError(
                Problem("adapter.initialization", f"{estimator!r} measures a variance, which {there} forget sample "
                        "does not have.", "Use 'fila', 'default' or 'pissa'.")
            )  # fmt: skip
    return held_out, forget, trained.encode(encoder) if trained else []


def check_adapter(model: Any, recipe: Recipe) -> dict[str, Any]:
    """The layers that the recipe adapts, by name. Raises `InputError` where they are none or smaller than the rank."""
    layers = target_layers(model, recipe.adapter.targets, recipe.adapter.layers)
    name, shape = min(
        ((name, matrix_shape(module)) for name, module in layers.items()), key=lambda item: min(item[1])
    )
    if recipe.adapter.rank > min(shape):
        raise InputError(
            Problem("adapter.rank", f"{recipe.adapter.rank} exceeds the smaller side of {name!r}, which is "
                    f"{shape[0]} x {shape[1]}.", f"Use at most {min(shape)}, or leave that layer out of the targets.")
        )  # fmt: skip
    return layers


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


def make_encoder(tokenizer: Any, data: Data) -> Encoder:
    if isinstance(data.template, str):
        template = choose_template(data.template, tokenizer)
    else:
        template = Template(data.template.prompt, data.template.answer)
    return Encoder(tokenizer, template, data.max_length)


def make_benchmark(
    recipe: Recipe, encoder: Encoder, data: UnlearningData, held_out: SampleSet | None
) -> Benchmark:
    """The benchmark that the recipe names, with its data loaded and checked."""
    longest = recipe.evaluation.max_new_tokens
    if recipe.benchmark == "tofu":
        assert isinstance(recipe.data, TofuData)
        return TofuBenchmark(
            recipe.data.path,
            recipe.data.forget,
            max_new_tokens=longest,
            samples=recipe.evaluation.samples,
        )
    if recipe.benchmark == "muse":
        assert isinstance(recipe.data, MuseData)
        source = BenchmarkSource(path=recipe.data.path, samples=recipe.evaluation.samples)
        return open_benchmark("muse", source, encoder)
    if recipe.benchmark == "tdec":
        limit = recipe.evaluation.samples
        kept = held_out.samples if held_out else []
        return TdecBenchmark(data.forget.samples[:limit], kept[:limit], encoder, {"path": data.forget.source})
    if recipe.benchmark != "memorization":
        return _separate_benchmark(recipe, encoder)
    sets = {"forget": data.forget, "retain": held_out, "holdout": data.holdout}
    return memorization_benchmark(
        {side: part for side, part in sets.items() if part}, encoder, longest, recipe.evaluation.samples
    )


def _separate_benchmark(recipe: Recipe, encoder: Encoder) -> Benchmark:
    """A benchmark whose questions are not those of the run's data: WMDP beside its corpora."""
    source = BenchmarkSource(path=recipe.evaluation.path, samples=recipe.evaluation.samples)
    benchmark = open_benchmark(recipe.benchmark, source, encoder)
    if not benchmark.measures_forgetting:
        raise InputError(
            Problem("evaluation.benchmark", f"{recipe.benchmark!r} measures what a model can do, not what it has "
                    "forgotten, so a run cannot choose its epoch by it.",
                    "Measure the run's result with `expunge eval`, and choose another benchmark here.")
        )  # fmt: skip
    return benchmark


def hold_out(retain: SampleSet | None, recipe: Recipe) -> tuple[SampleSet | None, SampleSet | None]:
    """The retain samples that utility is measured on, and those that are trained on.

    TOFU and MUSE bring their own evaluation sets, so all of the retain split is trained on, as their authors do. Of
    another retain set a fifth, at most 400 samples, is never trained on.
    """
    if retain is None or recipe.benchmark not in ("memorization", "tdec"):
        return None, retain
    shuffled = list(retain.samples)
    random.Random(recipe.seed).shuffle(shuffled)
    wanted = min(recipe.evaluation.samples or HELD_OUT, max(1, len(shuffled) // HELD_OUT_SHARE))
    if wanted >= len(shuffled):
        raise InputError(
            Problem("data.retain", f"{len(shuffled)} sample cannot both be trained on and measured.",
                    "Give at least two retain samples; a whole txt file is one.")
        )  # fmt: skip
    return SampleSet(retain.source, shuffled[:wanted]), SampleSet(retain.source, shuffled[wanted:])
