"""`expunge quickstart`: the main job on the data and models that the package carries."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import torch
import yaml

from ..progress import say
from ..run.unlearn import Run, unlearn
from ..storage import atomic_folder
from . import artifact_path, write_people


def run_quickstart(output: str | Path) -> Run:
    """A tiny Llama forgets a few invented people; no network and no GPU are needed.

    output: run folder; the data set of invented people is written beside it. A run that is there already
    goes on; a finished one is only shown again.
    """
    # At this size a second thread brings nothing and costs much on a busy machine; with one, the figures are also
    # the same for any number of cores.
    torch.set_num_threads(1)
    output = Path(output)
    data = output.with_name(f"{output.name}-data")
    if not data.exists():
        with atomic_folder(data) as partial:  # whole, or not there
            write_people(partial)
    recipe = yaml.safe_load((files(__package__) / "recipe.yaml").read_text(encoding="utf-8"))
    recipe["model"]["path"] = str(artifact_path("models/full"))
    recipe["data"]["path"] = str(data)
    recipe["evaluation"]["reference"] = str(artifact_path("models/retain90"))
    say(f"A tiny model that knows 40 invented people forgets 4 of them. Their data: {data}")
    return unlearn(recipe, output=output, resume=True)
