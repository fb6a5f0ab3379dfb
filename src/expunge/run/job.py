"""What a run works with: everything that its phases share, loaded and checked once."""

from __future__ import annotations

import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from ..adapters.anchor import restore
from ..adapters.loading import load_model
from ..errors import InputError, Problem
from ..evaluation.log import EvaluationLog
from ..evaluation.measures import declared
from ..evaluation.metric import Metric
from ..folder.epochs import EpochsFolder
from ..folder.machine import machine
from ..folder.run import RunFolder
from ..models.comparison import difference
from ..models.fingerprint import fingerprint
from ..models.half_precision import LEAST_SPEEDUP, bf16_speedup, may_gain
from ..models.processes import device, processes
from ..models.window import window_of
from ..progress import say
from ..recipe.schema import Recipe
from ..training.settings import TrainingPlan
from .checks import check_adapter, check_objective, unreached_facts
from .inputs import Inputs, encode_sets, make_benchmark
from .meter import CostMeter
from .neighbours import neighbour_writer, repeated
from .surrogate import itself
from .written import Sampled, Writer, take_or_sample


class Job(Inputs):
    """Inputs and model of a recipe, and the folder of its run.

    Making one reads and checks everything that can be wrong with the user's input, before anything is written.
    original_utility: what the utility rule takes its share of; None for that of the model that the run starts from
    callbacks:        of the Trainer, beside our own (see `unlearn`)
    """

    def __init__(
        self,
        recipe: Recipe,
        folder: Path,
        original_utility: float | None = None,
        callbacks: Sequence[TrainerCallback] = (),
    ):
        super().__init__(recipe)
        self.folder = RunFolder(folder)
        self.original_utility = original_utility
        self.callbacks = list(callbacks)
        self.meter = CostMeter()
        self.main_process = processes().is_main_process
        self.base = load_model(recipe.model)
        if self.method.adapts:
            part = self.method.part(self.base)
            layers = check_adapter(part, recipe)
            check_objective(part, self.objective, layers)
            self.unreached = unreached_facts(part, recipe, layers)
            if self.unreached.kinds:
                say(f"Left out: {self.unreached.line}.")
        self.base_fingerprint = fingerprint(self.base)
        self.meter.watch(self.base)
        self.surrogate: Sampled | None = None
        if recipe.data.retains_itself:
            self._sample_retain_set()
        self.neighbours: Sampled | None = None
        if self.neighbours_wanted:
            self._add_neighbours()
        self._check_model_of_before_log()
        self._trained: Any = None

    def _sample_retain_set(self) -> None:
        """Complete the data and the benchmark by a retain set from the original model, once all else is checked."""
        writer = itself(self.encoder, self.data.forget, len(self.forget), self.recipe.data)
        sampled = self._sampled(writer)
        self.data = replace(self.data, retain=sampled.samples)
        self.held_out, _, self.retain = encode_sets(self.data, self.encoder, self.recipe)
        self.benchmark = make_benchmark(self.recipe, self.encoder, self.data, self.held_out)
        self.read_given_logs()
        measured = {"held_out": len(self.held_out.samples) if self.held_out else 0}
        self.surrogate = replace(sampled, facts={**sampled.facts, **measured})

    def _add_neighbours(self) -> None:
        """Train on questions like those to forget as well, once the retain set is there."""
        longest = max(example.label_count for example in self.forget)
        window = window_of(self.base.config)
        writer = neighbour_writer(
            self.encoder, self.data, self.neighbours_wanted, longest, window, self.recipe.seed
        )
        self.neighbours = self._sampled(writer)
        self.retain = [
            *self.retain,
            *repeated(self.neighbours.samples.encode(self.encoder), len(self.retain)),
        ]

    def _sampled(self, writer: Writer) -> Sampled:
        return take_or_sample(
            writer, self.base, self.base_fingerprint, self.encoder, self.data.forget, self.recipe, self.meter
        )

    def _check_model_of_before_log(self) -> None:
        theirs = self.before_log.model.get("fingerprint") if self.before_log else None
        if self.before_log and difference(theirs, self.base_fingerprint):
            raise InputError(
                Problem(f"evaluation.before: {self.recipe.evaluation.before}",
                        f"its model is {theirs}, but this run needs {self.base_fingerprint}.",
                        "Name a log of the original model, or leave the key out.")
            )  # fmt: skip

    @property
    def facts(self) -> dict[str, Any]:
        """What `run.json` says about the inputs."""
        inputs = super().facts
        model, data = inputs.pop("model"), inputs.pop("data")
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
                **model,
                "parameters": count,
                "dtype": str(parameters[0].dtype).removeprefix("torch."),
                "bytes": sum(parameter.numel() * parameter.element_size() for parameter in parameters),
            },
            "data": {
                **data,
                **({"surrogate": self.surrogate.facts} if self.surrogate else {}),
                **({"neighbours": self.neighbours.facts} if self.neighbours else {}),
            },
            **inputs,
            "phases": {
                name: sampled.phase
                for name, sampled in (("surrogate", self.surrogate), ("neighbours", self.neighbours))
                if sampled and sampled.phase
            },
            "adapter": {
                "initialization": self.recipe.adapter.initialization,
                "rank": self.recipe.adapter.rank,
                "alpha": self.recipe.adapter.alpha,
                **({"unreached": self.unreached.model_dump()} if self.unreached.kinds else {}),
            }
            if self.method.adapts
            else {"trainable_parameters": count},
        }

    @property
    def training(self) -> TrainingPlan:
        """The settings of the training; where they leave the precision open for a large model on a CPU, that which this
        machine is faster in, as it was found when the run began: all of its passes are made in it."""
        plan = super().training
        if plan.precision != "auto" or not self._may_gain_by_bf16:
            return plan
        if self.folder.state.precision is None:
            speedup = bf16_speedup(self.base.config.get_text_config().hidden_size)
            chosen = "bf16" if speedup >= LEAST_SPEEDUP else "fp32"
            self.folder.update(precision={"chosen": chosen, "bf16_speedup": speedup})
            say(f"  passes in {chosen}: a product in bf16 is {speedup:.1f} times as fast as in fp32 here")
        assert self.folder.state.precision is not None
        return plan.model_copy(update={"precision": self.folder.state.precision.chosen})

    @cached_property
    def _may_gain_by_bf16(self) -> bool:
        parameters = sum(parameter.numel() for parameter in self.base.parameters())
        return may_gain(self.base.get_input_embeddings().weight.dtype, parameters)

    @cached_property
    def start(self) -> Any:
        """The model that training starts from, or the part of it that carries the adapter."""
        source = self.method.source
        if source == self.recipe.model:
            return self.method.part(self.base)
        self.base.to("meta")  # it has been measured: the memory is for the other
        start = load_model(source, "method.base")
        facts = {"path": source.path, "fingerprint": fingerprint(start)}
        self.folder.check_start(facts)
        if self.main_process:
            self.folder.update(start=facts)
        return self.method.part(start)

    @contextmanager
    def base_set_aside(self) -> Iterator[None]:
        """Within the block the original model is not in memory, so that another has its room; it is read anew after."""
        del self.base
        gc.collect()  # a model's parts refer to one another
        yield
        gc.collect()
        self.base = load_model(self.recipe.model)
        self.meter.watch(self.base)

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

    def release(self) -> None:
        """Give back the memory of the models, which are on the disk by now."""
        self._trained = None
        self.__dict__.pop("start", None)  # a method may start from another model than the base
        self.base.to("meta")
        gc.collect()  # the trainer's cycles hold its optimiser

    @property
    def generates_every_time(self) -> bool:
        return self.recipe.evaluation.generate == "every"

    @property
    def generates_between_epochs(self) -> bool:
        """Whether answers are generated after every epoch.

        While a rate is looked for that is so only where the loss aims at them, or the utility rule or a threshold looks
        at them: the trials cost the more, and the chosen epoch gets its answers at the end.
        """
        looked_at = self.thresholds or self.objective.aims == "answers"
        if not self.generates_every_time or not self.method.finds_rate or looked_at:
            return self.generates_every_time
        before = self.folder.metrics("before")
        ruled, by_one_pass = (self.benchmark.utility_metric(before, generated=kind) for kind in (True, False))
        return ruled != by_one_pass

    def evaluate(self, model: Any) -> EvaluationLog:
        """The benchmark's log of `model`, with generations and texts gone on with unless the recipe says never."""
        log = self.benchmark.measure(model, self.encoder)
        if self.recipe.evaluation.generate == "never":
            return log
        log = self.benchmark.generate(model, self.encoder, log)
        return self.benchmark.continue_texts(model, self.encoder, log)

    def model_facts(self, model: Any, path: str | None = None, adapter: str | None = None) -> dict[str, Any]:
        """What an evaluation log says about the model that it is of."""
        return {"path": path or self.recipe.model.path, "fingerprint": fingerprint(model), "adapter": adapter}

    def record(self, log: EvaluationLog, name: str, folder: EpochsFolder | None = None) -> EvaluationLog:
        """Give `log` its metrics and write it to `eval/{name}.json` of the run, or of a trial's `folder`, on the first
        process."""
        if not self.main_process:
            return log
        reference = log if name == "reference" else self.reference_log
        before = log if name == "before" else self.original_log
        log.metrics = self.benchmark.all_metrics(log, reference, before)
        (folder or self.folder).write_log(name, log)
        return log

    @property
    def reference_log(self) -> EvaluationLog | None:
        """The log of the model that never saw the forget set, once it is there."""
        return self._log("reference")

    @property
    def metrics_of_start(self) -> Mapping[str, Metric]:
        """The original's metrics as epochs have them: without those of answers where none are written between them."""
        before = self.folder.metrics("before")
        if self.generates_between_epochs:
            return before
        return {name: one for name, one in before.items() if not ((of := declared(name)) and of.generated)}

    @property
    def resolution(self) -> float:
        """Forget scores that are no further apart are equally good."""
        return self.benchmark.resolution(self.metrics_of_start, self.objective.aims)

    @property
    def original_log(self) -> EvaluationLog | None:
        """The log of the model before it is trained, once it is there."""
        return self._log("before")

    def _log(self, name: str) -> EvaluationLog | None:
        file = self.folder.evaluation(name)
        return self.benchmark.read_log(file) if file.exists() else None
