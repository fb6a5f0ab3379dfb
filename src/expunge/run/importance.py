"""Importance in a run: which samples it is measured on, and the store that a run takes it from.

`expunge importance` measures once and keeps the result under a hash of everything that it depends on; any run whose
model, data and settings give the same hash takes it over.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader

from .._version import __version__
from ..data.batching import least_padding
from ..data.encoding import Example, collate
from ..errors import InputError, Problem
from ..importance import measure_importance
from ..intact import read_intact
from ..models.linear import target_layers
from ..models.processes import processes
from ..progress import say
from ..storage import hash_rows
from .inputs import Inputs
from .job import Job


def measure(job: Job) -> dict[str, Tensor]:
    """The row importances that the recipe asks for, measured now."""
    settings, adapter = job.recipe.importance, job.recipe.adapter
    forget, retain = drawn_samples(job)
    return measure_importance(
        job.base,
        _batches(job, forget, settings.batch_size),
        _batches(job, retain, settings.batch_size) if retain else None,
        estimator=adapter.initialization,
        targets=adapter.targets,
        layers=adapter.layers,
        rank=adapter.rank,
        scaling=adapter.alpha / adapter.rank,
        seed=job.recipe.seed,
        perturb=settings.perturb,
        official=settings.official,
    )


def stored_file(job: Job) -> Path:
    """Where the store keeps what `measure` would give: the name is a hash of all that it depends on."""
    settings, adapter = job.recipe.importance, job.recipe.adapter
    forget, retain = drawn_samples(job)
    facts: list[Any] = [
        __version__,  # another one may measure otherwise
        job.base_fingerprint,
        str(job.base.dtype),  # the fingerprint is the checkpoint's, however it was loaded
        job.recipe.model.quantization,
        *([example.input_ids, example.labels] for example in forget),
        "retain",
        *([example.input_ids, example.labels] for example in retain),
        adapter.initialization,
        sorted(target_layers(job.base, adapter.targets, adapter.layers)),
        adapter.rank,
        adapter.alpha,
        job.recipe.seed,
        settings.perturb,
        settings.official,
        settings.batch_size if settings.official else None,  # otherwise it changes nothing
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


def _batches(job: Job, examples: Sequence[Example], batch_size: int) -> DataLoader:
    """This process's share, in batches of like length."""
    state = processes()
    share = sorted(examples, key=len)[state.process_index :: state.num_processes]
    if not share:
        raise InputError(
            Problem("importance.samples", f"there are fewer samples than processes ({state.num_processes}).",
                    "Use more samples or fewer processes.")
        )  # fmt: skip
    pad = job.encoder.pad_token_id
    if job.recipe.importance.official:  # its result depends on what shares a batch: all but the last are full
        rows = list(range(len(share)))
        cuts = [rows[start : start + batch_size] for start in range(0, len(rows), batch_size)]
    else:
        cuts = least_padding([len(example) for example in share], batch_size)
    return DataLoader(share, batch_sampler=cuts, collate_fn=lambda part: collate(part, pad))  # type: ignore[arg-type]
