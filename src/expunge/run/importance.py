"""Importance in a run: which samples it is measured on, and the store that a run takes it from.

`expunge importance` measures once and keeps the result under a hash of everything that it depends on; any run whose
model, data and settings give the same hash takes it over.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.utils.data import DataLoader, Sampler

from .._version import __version__
from ..adapters.settings import DIRECTIONS
from ..data.batching import least_padding
from ..data.encoding import Example, collate
from ..errors import InputError, Problem
from ..importance import estimators
from ..importance.directions import input_directions
from ..importance.measure import measure_by
from ..intact import read_intact
from ..models.linear import target_layers
from ..models.processes import processes
from ..models.seeds import seed_for
from ..progress import say
from ..recipe import Recipe, load_recipe
from ..recipe.loading import naming_recipe
from ..storage import PARTIAL, hash_rows, sync
from .inputs import Inputs
from .job import Job


def measure_and_store(source: str | Path, overrides: Sequence[str] = ()) -> Path:
    """`expunge importance`: the file in the store, measured unless it is there and whole.

    Raises `InputError` for wrong input, and where the initialisation needs no measurement.
    """
    with naming_recipe(source):
        return store_importance(load_recipe(source, overrides))


def store_importance(recipe: Recipe) -> Path:
    """`measure_and_store` of a recipe that has been read."""
    chosen = recipe.adapter.initialization
    if not recipe.adapter.measured:
        raise InputError(
            Problem("adapter.initialization", f"{chosen!r} needs no importance.",
                    f"Name an estimator: {', '.join(estimators)}; or {DIRECTIONS}.")
        )  # fmt: skip
    job = Job(recipe, Path(recipe.output_folder))
    file = stored_file(job)
    if read_stored(file) is not None:
        say(f"There already: {file}")
        return file
    rows = measure(job)
    if job.main_process:
        file.parent.mkdir(parents=True, exist_ok=True)
        # In a folder of its own: another process may be storing the same importance. The later one's file stays.
        with TemporaryDirectory(prefix=f"{file.stem}.", suffix=PARTIAL, dir=file.parent) as own:
            staged = Path(own) / file.name
            save_file(rows, staged, metadata={"estimator": chosen, "model": recipe.model.path})
            sync(staged)
            os.replace(staged, file)
            sync(file.parent)
    return file


def measure(job: Job) -> dict[str, Tensor]:
    """The row importances, or the input directions, that the recipe asks for, measured now."""
    adapter, pad = job.recipe.adapter, job.encoder.pad_token_id
    loaders: list[DataLoader] = [
        DataLoader(samples, batch_sampler=cuts, collate_fn=lambda part: collate(part, pad))  # type: ignore[arg-type]
        for samples, cuts in batches_of(job, processes().process_index, processes().num_processes)
    ]
    if adapter.initialization == DIRECTIONS:
        return input_directions(
            job.base,
            loaders[0],
            loaders[1] if len(loaders) > 1 else None,
            targets=adapter.targets,
            layers=adapter.layers,
            rank=adapter.rank,
            seed=job.recipe.seed,
        )
    return measure_by(
        job.procedure,
        job.base,
        loaders[0],
        loaders[1] if len(loaders) > 1 else None,
        estimator=adapter.initialization,
        targets=adapter.targets,
        layers=adapter.layers,
        rank=adapter.rank,
        scaling=adapter.alpha / adapter.rank,
        seed=job.recipe.seed,
    )


def stored_file(job: Job) -> Path:
    """Where the store keeps what `measure` would give: the name is a hash of all that it depends on."""
    settings, adapter, procedure = job.recipe.importance, job.recipe.adapter, job.procedure
    forget, retain = drawn_samples(job)
    redrawn = [procedure.passes, len(retain), settings.batch_size]
    facts: list[Any] = [
        __version__,  # another one may measure otherwise
        job.base_fingerprint,
        str(job.base.dtype),  # the fingerprint is the checkpoint's, however it was loaded
        job.recipe.model.quantization,
        *([example.input_ids, example.labels] for example in forget),
        "retain",
        *([example.input_ids, example.labels] for example in (job.retain if procedure.redrawn else retain)),
        adapter.initialization,
        sorted(target_layers(job.base, adapter.targets, adapter.layers)),
        adapter.rank,
        adapter.alpha,
        job.recipe.seed,
        settings.perturb,
        settings.official,
        *(redrawn if procedure.redrawn else [None]),  # otherwise the batch size changes nothing
    ]
    return Path(settings.folder) / f"{hash_rows(facts)}.safetensors"


def take_or_measure(job: Job) -> dict[str, Tensor]:
    """From the store where it is there, and say so; else measured."""
    file = stored_file(job)
    rows = read_stored(file)
    if rows is None:
        return measure(job)
    say(f"  taken from {file}: same model, data and settings")
    if job.main_process:
        job.folder.update(importance={"reused": str(file)})
    return rows


def read_stored(file: Path) -> dict[str, Tensor] | None:
    """What the store has; a damaged file is as good as none, and is said: what was in it can be measured again."""
    if not file.is_file():
        return None
    try:
        return read_intact(load_file, file)
    except InputError as error:
        say(f"  measured anew: {error.problems[0].where}: {error.problems[0].reason}")
        return None


def drawn_samples(inputs: Inputs) -> tuple[list[Example], list[Example]]:
    """The forget samples that importance is measured on, and as many retain samples."""
    wanted, seed = inputs.recipe.importance.samples, inputs.recipe.seed
    forget = _draw(inputs.forget, wanted, seed)
    return forget, _draw(inputs.retain, wanted or len(forget), seed)


def _draw(examples: Sequence[Example], samples: int | None, seed: int) -> list[Example]:
    if samples is None or samples >= len(examples):
        return list(examples)
    return random.Random(seed).sample(list(examples), samples)


def batches_of(
    inputs: Inputs, process: int = 0, of: int = 1
) -> list[tuple[Sequence[Example], Iterable[list[int]]]]:
    """Of the forget set, and of the retain set if there is one: samples, and this process's share of them in batches.

    The batches hold places of samples. Where the procedure draws anew, each walk through them is another.
    """
    size, seed = inputs.recipe.importance.batch_size, inputs.recipe.seed
    forget, retain = drawn_samples(inputs)
    if min(len(samples) for samples in (forget, retain) if samples) < of:
        raise InputError(
            Problem("importance.samples", f"there are fewer samples than processes ({of}).",
                    "Use more samples or fewer processes.")
        )  # fmt: skip
    if inputs.procedure.redrawn:
        sets = {"forget": (forget, len(forget)), "retain": (inputs.retain, len(retain))}
        return [
            (samples, RedrawnBatches(len(samples), drawn, size, seed_for(seed, "importance", side), process, of))
            for side, (samples, drawn) in sets.items()
            if drawn
        ]  # fmt: skip
    shares = [sorted(samples, key=len)[process::of] for samples in (forget, retain) if samples]
    return [(share, least_padding([len(sample) for sample in share], size)) for share in shares]


class RedrawnBatches(Sampler[list[int]]):
    """Full batches, but for the last, of `drawn` of the samples: at each walk through them drawn anew, and shuffled.

    Each of several processes takes its share of what is the same draw on all.
    """

    def __init__(self, samples: int, drawn: int, batch_size: int, seed: int, process: int = 0, of: int = 1):
        self.samples, self.drawn, self.batch_size, self.seed = samples, drawn, batch_size, seed
        self.process, self.of = process, of
        self.walks = 0

    def __len__(self) -> int:
        return math.ceil(len(range(self.process, self.drawn, self.of)) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        self.walks += 1
        generator = random.Random(seed_for(self.seed, f"pass {self.walks}"))
        share = generator.sample(range(self.samples), self.drawn)[self.process :: self.of]
        yield from (share[start : start + self.batch_size] for start in range(0, len(share), self.batch_size))
