"""Predicts the cost of a run: seconds and peak memory by phase, before any weights are read.

Every phase is the sum of its passes, counted without content (`passes`), over the batches that it will form; the work
is divided by the speed of this device, measured now (`device_speed`), and corrected by a trial of every kind of pass
(`trial_passes`). `docs/results/speed.md` says how far the predictions were from measured runs.

Not predicted: the attacks, phases that hardly use the model (export, report), what the original model writes to be kept
(a surrogate retain set, neighbours), a reinforced adapter, and benchmarks that do not state their `workload`.
Importance is predicted as if the store did not hold it, and generation as if every answer had to be written and were as
long as the true one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch

from ..adapters.settings import DIRECTIONS, UNANCHORED
from ..benchmarks.benchmark import Workload
from ..data.pairs import PairSampler
from ..evaluation.generation import ROUND
from ..evaluation.generation import TOKENS_PER_BATCH as TOKENS_WHILE_GENERATING
from ..evaluation.inference import batches_by_length
from ..evaluation.likelihood import TOKENS_PER_BATCH
from ..importance.directions import MOMENTS_BYTES
from ..models.half_precision import LEAST_SPEEDUP, bf16_speedup, may_gain, mixed_precision
from ..models.linear import linear_layers, matrix_shape, target_layers
from ..models.loading import dtype, load_config
from ..models.processes import device
from ..run.importance import batches_of, drawn_samples
from ..run.inputs import Inputs
from ..run.meter import resident_memory
from ..training.objective import paired_dataset
from .device_speed import DeviceSpeed, decomposition_seconds, free_memory, measure_speed
from .operations import Work
from .passes import Batches, Passes
from .shallow_models import ShallowModels
from .trial_passes import LARGEST_SHARE, TrialPasses

#: Work beside the passes, as so many kernels' launches: the Trainer's beginning, its part in a micro-batch, a
#: checkpoint, and the attaching of one layer's adapter (measured on a model of two small blocks).
STARTING_KERNELS, BATCH_KERNELS, SAVING_KERNELS, ATTACHING_KERNELS = 6000, 400, 1400, 75
#: Kernels of AdamW and of the clipping for a trained tensor, and bytes that they move for a trained number.
OPTIMISER_KERNELS, OPTIMISER_BYTES = 14, 48
#: Bytes of a number of an adapter, which PEFT keeps in fp32 whatever the base: the trained one and its anchor; and what
#: training keeps beside any number that is trained, in its dtype: its gradient and Adam's two moments.
ADAPTER_BYTES, KEPT_IN_TRAINING = 4 + 4, 3
#: Of so many trials of a learning rate one goes on to its last epoch.
TRIALS_PER_WHOLE = 3
#: To reduce the statistics of both sets: bytes moved for a weight, and kernels launched for a layer.
REDUCING_BYTES, REDUCING_KERNELS = 40, 30
#: On a CPU: libraries that a run loads after its inputs, and resident bytes for a byte alive in a pass (the C
#: library keeps what is freed; told not to, a training pass took 540 MB, predicted were 528).
LATER_LIBRARIES, RESIDENT_SHARE = 90e6, 2.0
#: Bytes of a number in a quantised layer; in 4 bits every 64 numbers share a scale in fp32.
QUANTIZED_BYTES = {"4bit": 0.5 + 4 / 64, "8bit": 1.0}


def weight_bytes(model: Any, dtype: torch.dtype, quantization: str | None = None) -> float:
    """Bytes of a model's weights in `dtype`; quantised are its linear layers alone, not embeddings, norms and biases.

    model: its shapes, on any device
    """
    numbers = sum(parameter.numel() for parameter in model.parameters())
    if quantization is None:
        return float(numbers * dtype.itemsize)
    linear = sum(math.prod(matrix_shape(module)) for module in linear_layers(model).values())
    return (numbers - linear) * dtype.itemsize + linear * QUANTIZED_BYTES[quantization]


def adapter_bytes(numbers: int, trained: bool = False) -> float:
    """Bytes of an adapter of so many numbers with its anchor; trained: with its gradient and the optimiser's state."""
    return float(numbers * (ADAPTER_BYTES + (KEPT_IN_TRAINING * 4 if trained else 0)))


@dataclass(frozen=True)
class Cost:
    """Predicted: wall seconds, operations of matrix products, and bytes at the peak (on an accelerator, its own).

    sooner, later: seconds less and more that it may take, where the course of the run decides that
    """

    seconds: float = 0.0
    flops: float = 0.0
    peak_memory_bytes: float = 0.0
    sooner: float = 0.0
    later: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        """The cost of both, one after the other."""
        return Cost(
            self.seconds + other.seconds,
            self.flops + other.flops,
            max(self.peak_memory_bytes, other.peak_memory_bytes),
            self.sooner + other.sooner,
            self.later + other.later,
        )

    def times(self, number: float) -> Cost:
        return Cost(
            self.seconds * number,
            self.flops * number,
            self.peak_memory_bytes,
            self.sooner * number,
            self.later * number,
        )


class CostModel:
    """Predicts the phases of a recipe whose inputs have been read.

    model: the model's shapes on the meta device
    speed: that of a device, where the caller knows it: nothing is measured or tried then
    """

    def __init__(self, inputs: Inputs, model: Any, speed: DeviceSpeed | None = None):
        recipe, method = inputs.recipe, inputs.method
        self.inputs, self.recipe, self.method = inputs, recipe, method
        config, chosen, part = load_config(method.source), dtype(method.source), method.part(model)
        weights = chosen if isinstance(chosen, torch.dtype) else (config.dtype or torch.float32)
        self.layers = [
            matrix_shape(module)
            for module in target_layers(part, recipe.adapter.targets, recipe.adapter.layers).values()
        ]
        self.weights = weight_bytes(model, weights, recipe.model.quantization)
        #: Bytes of the adapter, and those of it or of the weights while they are trained.
        if method.adapts:
            self.trained = recipe.adapter.rank * sum(d_out + d_in for d_out, d_in in self.layers)
            self.adapter, self.in_training = adapter_bytes(self.trained), adapter_bytes(self.trained, True)
            self.trained_tensors = 2 * len(self.layers)
        else:
            self.trained = sum(parameter.numel() for parameter in part.parameters())
            self.adapter, self.in_training = 0.0, float(self.trained * KEPT_IN_TRAINING * weights.itemsize)
            self.trained_tensors = len(list(part.parameters()))
        mixed = mixed_precision(method.training.precision, device(), weights)
        parameters = sum(parameter.numel() for parameter in part.parameters())
        gains = speed is None and may_gain(weights, parameters)
        if gains and method.training.precision == "auto":
            mixed = bf16_speedup(config.get_text_config().hidden_size) >= LEAST_SPEEDUP
        self.counts = Passes(
            ShallowModels(
                config,
                weights,
                recipe.adapter.rank,
                recipe.adapter.targets,
                mixed=mixed,
                fast=gains and mixed,
            )
        )
        on_cpu = device().type == "cpu"
        #: Bytes in memory before the model is: Python and its libraries on a CPU, nothing on an accelerator.
        self.resident = resident_memory() + LATER_LIBRARIES if on_cpu else 0.0
        self.share = RESIDENT_SHARE if on_cpu else 1.0
        self.batches = self._training_batches()
        width = config.get_text_config().hidden_size
        self.speed = speed or measure_speed(device(), weights, self.batches.shape.tokens, width)
        self.passes = TrialPasses(
            self.counts,
            self.speed,
            device(),
            depth=part.config.get_text_config().num_hidden_layers,
            adapters=method.adapts,
            room=0.0 if speed else LARGEST_SHARE * free_memory(device()),
        )

    def phases(self) -> dict[str, Cost]:
        """{phase: cost}, in the order of a run."""
        recipe, workload = self.recipe, self.inputs.benchmark.workload(self.inputs.encoder)
        costs: dict[str, Cost] = {}
        if workload:
            costs["baseline"] = self._baseline(workload)
        if self.method.adapts:
            if recipe.adapter.measured:
                directed = recipe.adapter.initialization == DIRECTIONS
                costs["importance"] = self._directions() if directed else self._importance()
            costs["adapter"] = self._adapter()
        if self.method.finds_rate:  # the best trial is the training
            costs["tuning"] = self._tuning(workload)
        else:
            costs["training"] = self._training(workload)
        if (
            workload
            and recipe.evaluation.generate != "never"
            and not self.inputs.writes_between_epochs(workload)
        ):
            costs["evaluation"] = self._generation(workload)
        if device().type == "cpu":  # what is freed stays with the process
            highest = accumulate((cost.peak_memory_bytes for cost in costs.values()), max)
            costs = {
                name: replace(cost, peak_memory_bytes=peak)
                for (name, cost), peak in zip(costs.items(), highest, strict=True)
            }
        return costs

    def _cost(self, work: Work, beside: float = 0.0) -> Cost:
        """beside: bytes that are alive next to the weights and what a pass takes."""
        peak = self.resident + self.weights + beside + self.share * work.peak
        return Cost(self.speed.seconds(work), work.flops, peak)

    def _importance(self) -> Cost:
        name = self.recipe.adapter.initialization
        fewest = min(len(samples) for samples in drawn_samples(self.inputs) if samples)
        kept = sum(self.counts.accumulated(name, *shape, fewest) for shape in self.layers)
        work = Work()
        for samples, cuts in batches_of(self.inputs):
            batches = Batches.of([[samples[index] for index in cut] for cut in cuts])
            work += _all(self.passes.measured(batches.shape, name, fewest), batches)
            work += Work(moved=3.0 * kept).times(batches.count)  # added to the sums
        work = work.times(self.inputs.procedure.passes)
        numbers = sum(d_out * d_in for d_out, d_in in self.layers)
        work += Work(
            moved=float(REDUCING_BYTES * numbers), kernels=float(REDUCING_KERNELS * len(self.layers))
        )
        return self._cost(work, beside=2.0 * kept)

    def _directions(self) -> Cost:
        """The cost of a forward pass over both sets, and of the second moments of every layer's inputs."""
        squares = sum(d_in**2 for _, d_in in self.layers)
        work = Work()
        for samples, cuts in batches_of(self.inputs):
            batches = Batches.of([[samples[index] for index in cut] for cut in cuts])
            work += _all(self.passes.scored(batches.shape, mixed=False), batches)
            positions = sum(map(len, samples))
            work += Work(flops=2.0 * positions * squares)
        return self._cost(work, beside=min(8.0 * squares, float(MOMENTS_BYTES)))

    def _adapter(self) -> Cost:
        """The low-rank approximations, and attaching their factors."""
        attaching = Work(kernels=float(ATTACHING_KERNELS * len(self.layers)))
        if self.recipe.adapter.initialization in UNANCHORED:
            return self._cost(attaching, self.adapter)
        rank = self.recipe.adapter.rank
        seconds = self.speed.seconds(attaching)
        seconds += sum(decomposition_seconds(device(), d_out, d_in, rank) for d_out, d_in in self.layers)
        # W weighted, and its singular vectors, in fp32.
        largest = max(4.0 * d_out * d_in for d_out, d_in in self.layers)
        return Cost(seconds, 0.0, self.resident + self.weights + self.adapter + 3 * largest)

    def _training_batches(self) -> Batches:
        """The micro-batches of the first epoch, as they will be."""
        inputs, settings = self.inputs, self.inputs.training
        retain = inputs.retain or (inputs.forget if self.recipe.data.retains_itself else [])
        self.dataset = paired_dataset(inputs.objective, inputs.forget, retain, inputs.substitutes)
        pairs = [
            self.dataset[index] for index in PairSampler(self.dataset, settings.batch_size, self.recipe.seed)
        ]
        size = min(settings.micro_batch_size, settings.batch_size)
        return Batches.of(
            [
                [example for pair in pairs[start : start + size] for example in pair if example]
                for start in range(0, len(pairs), size)
            ]
        )

    def _training(self, workload: Workload | None) -> Cost:
        settings, batches = self.inputs.training, self.batches
        one = self.passes.trained(batches.shape, settings.activation_checkpointing)
        work = _all(one, batches)
        work += Work(kernels=float(BATCH_KERNELS)).times(batches.count)
        frozen = round(self._frozen_share() * batches.shape.rows)
        if frozen:
            work += self.passes.scored(replace(batches.shape, rows=frozen)).times(batches.count)
        optimiser = Work(
            moved=float(OPTIMISER_BYTES * self.trained),
            kernels=float(OPTIMISER_KERNELS * self.trained_tensors),
        )
        work += optimiser.times(settings.steps_an_epoch(len(self.dataset)))
        work += Work(kernels=float(SAVING_KERNELS))
        work = work.times(settings.epochs) + Work(kernels=float(STARTING_KERNELS))
        cost = self._cost(work, self.in_training)
        if workload is None:
            return cost
        evaluations = math.ceil(settings.epochs / self.inputs.epochs_between_evaluations)
        return cost + self._evaluation(workload, self.inputs.writes_between_epochs(workload)).times(
            evaluations
        )

    def _tuning(self, workload: Workload | None) -> Cost:
        """The trials of learning rates: one in `TRIALS_PER_WHOLE` goes on to its last epoch, at least one, at most all;
        the others are left after a third of their epochs."""
        trials, epochs = self.recipe.tuning.trials, self.inputs.training.epochs
        whole = self._training(workload)
        left = whole.times(math.ceil(epochs / 3) / epochs)
        least, expected, most = (
            whole.times(number) + left.times(trials - number)
            for number in (1, math.ceil(trials / TRIALS_PER_WHOLE), trials)
        )
        return replace(
            expected,
            sooner=expected.seconds - least.seconds,
            later=most.seconds - expected.seconds,
        )

    def _frozen_share(self) -> float:
        """Rows that also pass the original or a reinforced model, as a multiple of the rows of a micro-batch."""
        terms = self.inputs.objective.terms
        return sum(len(term.loss.needs - {"hidden"}) for term in terms) / self.dataset.parts

    def _baseline(self, workload: Workload) -> Cost:
        settings = self.recipe.evaluation
        one = self._evaluation(workload, settings.generate != "never")
        cost = Cost() if settings.before else one
        if settings.reference and not Path(settings.reference).is_file():
            cost += one  # of a model of the same size, which has the original's room
        return cost

    def _evaluation(self, workload: Workload, generated: bool) -> Cost:
        lengths = [len(example) for example in workload.scored]
        limit = TOKENS_PER_BATCH.get(device().type, TOKENS_PER_BATCH["accelerator"])
        batches = Batches.of(
            [[workload.scored[index] for index in cut] for cut in batches_by_length(lengths, limit)]
        )
        scored = self._cost(_all(self.passes.scored(batches.shape), batches), self.adapter)
        return scored + self._generation(workload) if generated else scored

    def _generation(self, workload: Workload) -> Cost:
        if not workload.generated:
            return Cost()
        prompts, answers = zip(*workload.generated, strict=True)
        cuts = batches_by_length(prompts, TOKENS_WHILE_GENERATING, extra=workload.longest)
        # A batch goes on until its longest answer has ended; the others are taken out of it after a round.
        written = [[min(answers[index], workload.longest) for index in cut] for cut in cuts]
        steps = sum(map(max, written))
        tokens = sum(min(-(-each // ROUND) * ROUND, max(batch)) for batch in written for each in batch)
        rows, context = round(len(prompts) / len(cuts)), math.ceil(sum(prompts) / len(prompts))
        first, then = (
            self.passes.prefilled(rows, context),
            self.passes.decoded(round(tokens / steps), context + steps // (2 * len(cuts))),
        )
        then = replace(then, peak=max(then.peak, self.passes.decoded(rows, context + ROUND).peak))
        return self._cost(first.times(len(cuts)) + then.times(steps), self.adapter)


def _all(one: Work, batches: Batches) -> Work:
    """The work of all batches, the peak that of the largest."""
    return replace(one.times(batches.count), peak=one.peak * batches.largest)
