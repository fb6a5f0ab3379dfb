"""What a run works with: everything that its phases share, loaded and checked once."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel

from ..adapters.anchor import restore
from ..data.encoding import Encoder, Example
from ..data.samples import Sample
from ..data.sets import SampleSet, UnlearningData, load_data
from ..data.templates import Template, choose_template
from ..errors import InputError, Problem
from ..evaluation.benchmark import Benchmark
from ..evaluation.log import EvaluationLog
from ..evaluation.memorization import Material, MemorizationBenchmark
from ..evaluation.tofu.benchmark import TofuBenchmark
from ..importance import estimators
from ..models.fingerprint import fingerprint
from ..models.linear import matrix_shape, target_layers
from ..models.loading import load_config, load_model, load_tokenizer
from ..models.processes import device, processes
from ..recipe.schema import Data, Model, Recipe, TofuData
from ..storage import hash_rows, write_json
from .cost import CostMeter
from .folder import RunFolder, machine

#: Retain samples that are kept out of training to measure utility on, at most, and as a share of the set.
HELD_OUT, HELD_OUT_SHARE = 400, 5


class Job:
    """Model, data and benchmark of a recipe.

    Making one reads and checks everything that can be wrong with the user's input, before anything is written.
    Raises `InputError` with all problems of data, benchmark and model.
    """

    def __init__(self, recipe: Recipe, folder: Path):
        self.recipe = recipe
        self.folder = RunFolder(folder)
        self.meter = CostMeter()
        self.main_process = processes().is_main_process
        self.data = check_inputs(recipe)
        self.tokenizer = load_tokenizer(recipe.model)
        self.encoder = make_encoder(self.tokenizer, recipe.data)
        held_out, self.forget, self.retain = encode_sets(self.data, self.encoder, recipe)
        self.benchmark = make_benchmark(recipe, self.encoder, self.data, held_out)
        self.base = load_model(recipe.model)
        check_adapter(self.base, recipe)
        self.base_fingerprint = fingerprint(self.base)
        self.before_log = self._given_log(recipe.evaluation.before, "evaluation.before")
        self.given_reference_log = self._given_log(recipe.evaluation.reference, "evaluation.reference")
        self._adapted: PeftModel | None = None
        self.meter.watch(self.base)

    @property
    def facts(self) -> dict[str, Any]:
        """What `run.json` says about the inputs."""
        parameters = list(self.base.parameters())
        return {
            "machine": machine(device(), torch.get_num_threads()),
            "model": {
                "path": self.recipe.model.path,
                "revision": self.recipe.model.revision,
                "fingerprint": self.base_fingerprint,
                "parameters": sum(parameter.numel() for parameter in parameters),
                "dtype": str(parameters[0].dtype).removeprefix("torch."),
                "bytes": sum(parameter.numel() * parameter.element_size() for parameter in parameters),
            },
            "data": {
                "format": self.data.format,
                "forget": self.data.forget.describe(),
                "retain": self.data.retain.describe() if self.data.retain else None,
            },
            "adapter": {
                "initialization": self.recipe.adapter.initialization,
                "rank": self.recipe.adapter.rank,
                "alpha": self.recipe.adapter.alpha,
            },
        }

    @property
    def adapted(self) -> PeftModel:
        """The wrapped model as it is at step 0; restored from the run folder where it was made earlier."""
        if self._adapted is None:
            self.set_adapted(restore(self.base, self.folder.initial_adapter))
        assert self._adapted is not None
        return self._adapted

    def set_adapted(self, model: PeftModel) -> None:
        self._adapted = model
        self.meter.watch(model)

    @property
    def generates_every_time(self) -> bool:
        return self.recipe.evaluation.generate == "every"

    def model_facts(self, model: Any, path: str | None = None, adapter: str | None = None) -> dict[str, Any]:
        """What an evaluation log says about the model that it is of."""
        return {"path": path or self.recipe.model.path, "fingerprint": fingerprint(model), "adapter": adapter}

    def record(self, log: EvaluationLog, name: str) -> EvaluationLog:
        """Give `log` its metrics and write it to `eval/{name}.json`."""
        log.metrics = self.benchmark.metrics(log, log if name == "reference" else self.reference_log)
        write_json(self.folder.evaluation(name), log.to_json())
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


def check_inputs(recipe: Recipe) -> UnlearningData:
    """The data, once all that shows without loading weights has been checked.

    Raises `InputError` with every problem of model, data and evaluation at once.
    """
    problems: list[Problem] = []
    found: list[UnlearningData] = []
    checks = [
        lambda: load_config(recipe.model),
        lambda: found.append(load_data(recipe.data, recipe.objective.retain != "none")),
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
    if recipe.benchmark == "tofu" and not isinstance(recipe.data, TofuData):
        problems.append(
            Problem("evaluation.benchmark", "tofu needs TOFU's files.",
                    "Set data.format to tofu, or the benchmark to memorization.")
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
        return TofuBenchmark(recipe.data.path, recipe.data.forget, max_new_tokens=longest)
    limit = recipe.evaluation.samples
    return MemorizationBenchmark(
        _material(data.forget.samples[:limit], encoder),
        _material(held_out.samples, encoder) if held_out else [],
        longest,
        {
            "path": data.forget.source,
            "hash": hash_rows(
                [data.forget.describe()["hash"], held_out.describe()["hash"] if held_out else None]
            ),
        },
    )


def hold_out(retain: SampleSet | None, recipe: Recipe) -> tuple[SampleSet | None, SampleSet | None]:
    """The retain samples that utility is measured on, and those that are trained on.

    TOFU brings its own evaluation questions, so all of the retain split is trained on, as its authors do. Of the
    user's own retain set a fifth, at most 400 samples, is never trained on.
    """
    if retain is None or recipe.benchmark == "tofu":
        return None, retain
    shuffled = list(retain.samples)
    random.Random(recipe.seed).shuffle(shuffled)
    wanted = min(recipe.evaluation.samples or HELD_OUT, max(1, len(shuffled) // HELD_OUT_SHARE))
    if wanted >= len(shuffled):
        raise InputError(
            Problem("data.retain", f"{len(shuffled)} sample cannot both be trained on and measured.",
                    "Give at least two retain samples.")
        )  # fmt: skip
    return SampleSet(retain.source, shuffled[:wanted]), SampleSet(retain.source, shuffled[wanted:])


def _material(samples: Any, encoder: Encoder) -> list[Material]:
    material = []
    sample: Sample
    for sample in samples:
        examples = sample.encode(encoder)
        prompted = len(examples) == 1 and sample.truth is not None
        material += [
            Material(
                example, sample.prompt(encoder) if prompted else None, sample.truth if prompted else None
            )
            for example in examples
        ]
    return material
