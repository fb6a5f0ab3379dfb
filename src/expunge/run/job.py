"""What a run works with: everything that its phases share, loaded and checked once."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from ..adapters.anchor import restore
from ..data.encoding import Encoder, Example
from ..data.sets import SampleSet, UnlearningData
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
from ..models.fingerprint import fingerprint
from ..models.loading import load_model, load_tokenizer
from ..models.processes import device, processes
from ..recipe.data import Data, MuseData, TofuData
from ..recipe.schema import Recipe
from ..storage import write_json
from .checks import check_adapter, check_inputs, check_objective, check_window, read_thresholds
from .cost import CostMeter
from .folder import RunFolder, machine
from .given_logs import read_given_log
from .methods import method_of
from .surrogate import Surrogate, take_or_sample

#: Retain samples that are kept out of training to measure utility on, at most, and as a share of the set.
HELD_OUT, HELD_OUT_SHARE = 400, 5


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
        check_window(recipe, [*self.forget, *self.retain])
        self.method = method_of(recipe)
        self.objective = self.method.objective()
        self.substitutes = self._substitutes()
        self.thresholds = read_thresholds(recipe.stopping)
        self.benchmark = make_benchmark(recipe, self.encoder, self.data, held_out)
        self._read_given_logs()

    def _read_given_logs(self) -> None:
        complete = self.data.retain is not None or not self.recipe.data.retains_itself
        self.before_log, self.given_reference_log = (
            read_given_log(self.recipe, side, self.benchmark, complete) for side in ("before", "reference")
        )

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
        self._check_model_of_before_log()
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
        self._read_given_logs()
        measured = {"held_out": len(held_out.samples) if held_out else 0}
        self.surrogate = replace(found, facts={**found.facts, **measured})

    def _check_model_of_before_log(self) -> None:
        found = self.before_log.model.get("fingerprint") if self.before_log else None
        if self.before_log and found != self.base_fingerprint:
            raise InputError(
                Problem(f"evaluation.before: {self.recipe.evaluation.before}",
                        f"its model is {found}, but this run needs {self.base_fingerprint}.",
                        "Name a log of the original model, or leave the key out.")
            )  # fmt: skip

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
    try:
        benchmark = open_benchmark(recipe.benchmark, source, encoder)
    except InputError as error:
        keys = {
            "--data": "evaluation.path",
            "--forget": "evaluation.benchmark",
            "--benchmark": "evaluation.benchmark",
        }
        raise InputError(
            [replace(problem, where=keys.get(problem.where, problem.where)) for problem in error.problems]
        ) from None
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
