"""What a recipe is made of before any weights are read: its data, encoded, its objective and its benchmark."""

from __future__ import annotations

import random
import sys
from collections.abc import Hashable, Sequence
from typing import Any

from ..benchmarks.benchmark import Benchmark, Workload
from ..benchmarks.declaration import RunData
from ..benchmarks.registry import benchmarks
from ..benchmarks.settings import Evaluation
from ..data.encoding import Encoder, Example, encoded_hash, say_what_is_cut
from ..data.likeness import content
from ..data.sample_set import SampleSet
from ..data.sets import UnlearningData
from ..data.settings import Data
from ..data.substitutes import substitutes
from ..data.templates import Template, choose_template
from ..errors import InputError, Problem, placed_by
from ..importance import estimators
from ..methods import method_of
from ..models.fingerprint import tokenizer_digest
from ..models.loading import load_config, load_tokenizer
from ..models.processes import processes
from ..models.window import vocabulary_of
from ..progress import say
from ..recipe.requests import Requests
from ..recipe.schema import Recipe
from ..report.advice import MORE_TO_KEEP
from ..report.evidence import LEAST_FOR_UTILITY
from ..training.objective import paired_dataset
from ..training.settings import TrainingPlan
from ..training.stopping import read_thresholds
from .checks import check_inputs, check_window, idle_keys, procedure_of
from .given_logs import given_hash, read_given_log

#: Retain samples that are kept out of training to measure utility on, at most, and as a share of the set.
HELD_OUT, HELD_OUT_SHARE = 400, 5
#: A training step's time in forward passes: its backward pass takes about two.
PASSES_OF_TRAINING = 3


class Inputs:
    """Data, objective and benchmark of a recipe: what is read and checked before any weights are.

    Raises `InputError` with all problems of data, benchmark and model.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.data = check_inputs(recipe)
        self.tokenizer = load_tokenizer(recipe.model)
        self.encoder = make_encoder(self.tokenizer, recipe.data, load_config(recipe.model))
        self.held_out, self.forget, self.retain = encode_sets(self.data, self.encoder, recipe)
        say_what_is_cut([*self.forget, *self.retain], self.encoder.max_length, "data.max_length")
        for key, why in idle_keys(recipe).items():
            say(f"{key} has no use: {why}.")
        check_window(recipe, [*self.forget, *self.retain])
        self.method = method_of(recipe)
        self.objective = self.method.objective()
        self.procedure = procedure_of(recipe)
        self.substitutes = self._substitutes()
        self.thresholds = read_thresholds(recipe.stopping)
        self.benchmark = make_benchmark(recipe, self.encoder, self.data, self.held_out)
        self.read_given_logs()

    def read_given_logs(self) -> None:
        complete = self.data.retain is not None or not self.recipe.data.retains_itself
        self.before_log, self.given_reference_log = (
            read_given_log(
                self.recipe, side, self.benchmark, self.encoder, complete, self.objective.aims == "answers"
            )
            for side in ("before", "reference")
        )

    @property
    def facts(self) -> dict[str, Any]:
        """What a record says of everything that the result depends on and that shows without the model's weights."""
        return {
            "model": {"tokenizer": tokenizer_digest(self.tokenizer)},
            "data": {
                "format": self.data.format,
                "forget": self.data.forget.describe(),
                "retain": self.data.retain.describe() if self.data.retain else None,
                "encoded": {
                    "forget": encoded_hash(self.forget),
                    "retain": encoded_hash(self.retain),
                    "substitutes": encoded_hash(self.substitutes),
                },
            },
            "benchmark": {
                "name": self.benchmark.name,
                "metric_version": self.benchmark.metric_version,
                "hash": self.benchmark.data.get("hash"),
            },
            "thresholds": self.thresholds,
            "given_logs": {side: given_hash(self.recipe, side) for side in ("before", "reference")},
        }

    @property
    def training(self) -> TrainingPlan:
        """The settings of the training, every `auto` as the number that follows from the samples."""
        walked = paired_dataset(self.objective, self.forget, self.retain, self.substitutes)
        return self.method.training.plan(len(walked), processes().num_processes)

    @property
    def epochs_between_evaluations(self) -> int:
        """As the recipe has it; where it leaves that and the epochs open every one is measured that is measured in at
        most half the time that it is trained in: of an epoch in between the nearest to the aim may be missed, and a
        whole trial made for it."""
        recipe, plan = self.recipe, self.training
        is_open = recipe.evaluation.every == recipe.training.epochs == "auto"
        if is_open and (workload := self.benchmark.workload(self.encoder)) is not None:
            pairs = paired_dataset(self.objective, self.forget, self.retain, self.substitutes)
            trained = PASSES_OF_TRAINING * pairs.parts * sum(map(len, pairs.forget))
            measured = sum(map(len, workload.scored))
            if measured <= trained / 2 and not self.writes_between_epochs(workload):
                return 1
        return recipe.epochs_between_evaluations(plan.epochs)

    def writes_between_epochs(self, workload: Workload) -> bool:
        """As `Job.generates_between_epochs`, before a log shows what the utility is."""
        looked_at = self.thresholds or self.objective.aims == "answers"
        needed = not self.method.finds_rate or looked_at or workload.utility_generated
        return self.recipe.evaluation.generate == "every" and bool(needed)

    @property
    def neighbours_wanted(self) -> int:
        """How many neighbours are asked of the original model (see `data.neighbours`)."""
        if self.recipe.model.adapters:
            return 0  # of earlier requests: what they left may be written, and would be kept
        return getattr(self.recipe.data, "neighbours", 0)

    def too_few_for_utility(self, measured: int | None = None) -> str | None:
        """A sentence where the utility rests on too few samples to be judged; None where it does not, or where nothing
        shows before it is measured.

        measured: on how many; None before that: then those count that are kept out of training
        """
        if measured is None:
            if self.held_out is None:
                return None
            measured = len(self.held_out.encode(self.encoder))
        if measured >= LEAST_FOR_UTILITY:
            return None
        samples, holds_out = self.recipe.evaluation.samples, benchmarks[self.recipe.benchmark].holds_out
        if (samples or LEAST_FOR_UTILITY) < LEAST_FOR_UTILITY or not holds_out:
            remedy = "measure more of each set (evaluation.samples, of tofu also evaluation.first)"
        else:
            remedy = f"{MORE_TO_KEEP}. Of {2 * LEAST_FOR_UTILITY} that you give {LEAST_FOR_UTILITY} are kept for that"
        return (
            f"The utility is measured on {measured} samples: too few to say that it is kept, which takes "
            f"{LEAST_FOR_UTILITY}. To try: {remedy}."
        )

    def _substitutes(self) -> list[Example]:
        kind, settings = self.objective.substitute, self.recipe.objective
        if kind is None:
            return []
        examples = substitutes(
            self.data.forget,
            kind,
            settings.substitutes,
            self.recipe.data.columns,
            self.encoder,
            self.recipe.seed,
        )
        check_window(self.recipe, examples)
        return examples


def check_requests(requests: Requests) -> list[Inputs]:
    """The inputs of every request. Raises `InputError` with all that is wrong with them, or between them."""
    inputs: list[Inputs] = []
    problems: list[Problem] = []
    if "adapter" not in method_of(requests.whole).forms:
        raise InputError(
            Problem("method", f"{requests.whole.method.name!r} hands over no adapter, which the next request could go "
                    "on from.", "Give one forget set at a time.")
        )  # fmt: skip
    if requests.whole.model.quantization:
        raise InputError(
            Problem("model.quantization", "each request adds the adapters before it to the weights, and those that are "
                    "quantised cannot take them.", "Leave it out, or give one forget set at a time.")
        )  # fmt: skip
    for recipe in requests.recipes:
        try:
            inputs.append(Inputs(recipe))
        except InputError as error:
            problems += error.problems
    problems += _overlaps([each.data.forget for each in inputs])
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    return inputs


def _overlaps(forget: Sequence[SampleSet]) -> list[Problem]:
    """Samples that an earlier request has forgotten already."""
    seen: dict[Hashable, str] = {}
    problems = []
    for each in forget:
        said = [content(sample) for sample in each.samples]
        shared = [(row, seen[sample]) for row, sample in enumerate(said, start=1) if sample in seen]
        if shared:
            row, earlier = shared[0]
            problems.append(
                Problem("data.forget", f"{len(shared)} samples of {each.source!r} are in {earlier!r} as well, first "
                        f"row {row}.", "Take them out of the later one: they will be forgotten by then.")
            )  # fmt: skip
        for sample in said:
            seen.setdefault(sample, each.source)
    return problems


def encode_sets(
    data: UnlearningData, encoder: Encoder, recipe: Recipe
) -> tuple[SampleSet | None, list[Example], list[Example]]:
    """The held-out retain samples, and the forget and retain examples that are trained on.

    Raises `InputError` for samples whose answer is cut off, and for fewer forget samples than the estimator needs.
    """
    forget = data.forget.encode(encoder)
    # Messages name a row by its place in the file: before the samples are shuffled.
    retain = data.retain.encode(encoder) if data.retain else []
    held_out, trained = hold_out(data.retain, recipe)
    estimator = recipe.adapter.initialization
    if estimator in estimators:
        needed = estimators[estimator].least_samples
        there = min(len(forget), recipe.importance.samples or len(forget))
        if there < needed:
            raise InputError(
                Problem("adapter.initialization", f"{estimator!r} measures a variance, which {there} forget sample "
                        "does not have.", "Use 'fila', 'default' or 'pissa'.")
            )  # fmt: skip
    if held_out and trained:
        retain = trained.encode(encoder)
    return held_out, forget, retain


def make_encoder(tokenizer: Any, data: Data, config: Any = None) -> Encoder:
    """With the model's `config` it refuses token ids that the model cannot read."""
    if isinstance(data.template, str):
        template = choose_template(data.template, tokenizer)
    else:
        template = Template(data.template.prompt, data.template.answer)
    return Encoder(tokenizer, template, data.max_length, vocabulary_of(config) if config else sys.maxsize)


def make_benchmark(
    recipe: Recipe, encoder: Encoder, data: UnlearningData, held_out: SampleSet | None
) -> Benchmark:
    """The benchmark that the recipe names, with its data loaded and checked."""
    declared = benchmarks[recipe.benchmark]

    def key(place: str) -> str:
        """An option of the benchmark is a key of its own data, else of the evaluation, else of the data."""
        for name, section in (
            ("data", declared.data),
            ("evaluation", Evaluation),
            ("data", type(recipe.data)),
        ):
            if section and place in section.model_fields:
                return f"{name}.{place}"
        return place

    with placed_by(key):
        return declared.of_run(RunData(recipe.data, recipe.evaluation, data, held_out), encoder)


def hold_out(retain: SampleSet | None, recipe: Recipe) -> tuple[SampleSet | None, SampleSet | None]:
    """The retain samples that utility is measured on, and those that are trained on.

    TOFU, MUSE and WMDP bring their own evaluation sets, so all of the retain split is trained on, as their authors do.
    For a benchmark that brings none a fifth, at most 400 samples, is never trained on; of a small set as many as the
    utility can be judged on, where that is at most half.
    """
    if retain is None or not benchmarks[recipe.benchmark].holds_out:
        return None, retain
    shuffled = list(retain.samples)
    random.Random(recipe.seed).shuffle(shuffled)
    least = LEAST_FOR_UTILITY if len(shuffled) >= 2 * LEAST_FOR_UTILITY else 1
    wanted = min(recipe.evaluation.samples or HELD_OUT, max(least, len(shuffled) // HELD_OUT_SHARE))
    if wanted >= len(shuffled):
        raise InputError(
            Problem("data.retain", f"{len(shuffled)} sample cannot both be trained on and measured.",
                    "Give at least two retain samples; a whole txt file is one.")
        )  # fmt: skip
    measured = {content(sample) for sample in shuffled[:wanted]}
    trained = [sample for sample in shuffled[wanted:] if content(sample) not in measured]
    if not trained:
        raise InputError(
            Problem("data.retain", f"all of its {len(shuffled)} samples say the same, so that none can be trained on "
                    "that is not measured.", "Give at least two that differ.")
        )  # fmt: skip
    if again := len(shuffled) - wanted - len(trained):
        say(f"data.retain: {again} samples say the same as one that is measured, and are not trained on.")
    return SampleSet(retain.source, shuffled[:wanted]), SampleSet(retain.source, trained)
