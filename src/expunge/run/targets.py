"""Models that attacks can be made on: that of a run, or any model with an adapter or with its original."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ..adapters.assistant import load_assisted
from ..adapters.loading import load_model
from ..adapters.weights import read_exported
from ..attacks.items import make_items
from ..folder.run import RunFolder
from ..models.settings import Model
from ..progress import say
from ..storage import hash_files
from .attack import Target
from .inputs import Inputs

#: Attacks change weights, and compare what is left: neither is to be lost in rounding.
IN_FULL: Mapping[str, Any] = {"dtype": "float32", "quantization": None}


def target_of_run(inputs: Inputs, folder: RunFolder, reference: str | None = None) -> Target:
    """The model that a run has handed over, with what the run knows of it.

    reference: a model that never saw the forget set, in place of the recipe's
    """
    recipe, form = inputs.recipe, folder.state.deliverable
    given = reference or recipe.evaluation.reference
    if given is not None and Path(given).is_file():
        say(
            "  The reference is a log, which cannot be attacked: name the model by `expunge attack … --reference`."
        )
        given = None
    wordings = inputs.benchmark.wordings()
    forget, retain, holdout = (
        make_items(part.samples if part else (), inputs.encoder, wordings)
        for part in (inputs.data.forget, inputs.data.retain, inputs.data.holdout)
    )
    original = recipe.model.model_copy(update=IN_FULL)
    place = folder.path / form
    return Target(
        original=partial(load_model, original),
        after=partial(handed_over, original, place, form),
        reference=partial(load_model, Model(path=given, **IN_FULL), "--reference") if given else None,
        reference_path=given,
        identity={
            "model": folder.state.model.fingerprint,
            "handed over": hash_files(place.glob("**/*.safetensors")),
            "reference": files_of(given) if given else None,
        },
        encoder=inputs.encoder,
        forget=forget,
        retain=retain,
        holdout=holdout,
        change=read_exported(place)[1] if form == "adapter" else {},
        answers=inputs.objective.aims == "answers",
        seed=recipe.seed,
    )


def handed_over(original: Model, place: Path, form: str) -> Any:
    """The model that users get, in fp32: an adapter is added to the weights."""
    if form == "adapter":
        return load_model(original.model_copy(update={"adapters": [*original.adapters, str(place)]}))
    if form == "assistant":
        return load_assisted(load_model(original), place)
    return load_model(original.model_copy(update={"path": str(place), "revision": None, "adapters": []}))


def files_of(model: str) -> Any:
    """What tells the files of a local model from others, without reading them; the name of one on the hub."""
    files = sorted(Path(model).glob("*.safetensors"))
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files] or model
