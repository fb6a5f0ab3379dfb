"""A checkpoint's content: the adapter that is trained, or all weights where there is none, and the Trainer's state."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile

from peft import PeftModel
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..adapters.anchor import load_weights, save_adapter
from ..errors import InputError, Problem
from ..intact import RESTORE, read_intact
from ..models.processes import processes
from ..storage import read_json

MODEL_FILE = "model.safetensors"


def save_trained(model: Any, folder: Path, state_dict: dict[str, Tensor] | None = None) -> None:
    """Write to `folder` the weights that training changes.

    state_dict: of the whole model, where it had to be gathered from several processes
    """
    if isinstance(model, PeftModel):
        save_adapter(model, folder, state_dict)
        return
    folder.mkdir(parents=True, exist_ok=True)
    # Only parameters: tied ones come once, so that no two tensors share their memory.
    weights = {
        name: (state_dict or {}).get(name, parameter).detach().cpu().contiguous()
        for name, parameter in model.named_parameters()
    }
    save_file(weights, folder / MODEL_FILE)


def load_trained(model: Any, folder: Path, remedy: str = RESTORE) -> None:
    """Read the weights that `save_trained` wrote into `model`; nothing else of it changes.

    Raises `InputError`, with `remedy`, where it is missing or damaged.
    """
    if isinstance(model, PeftModel):
        load_weights(model, folder, remedy=remedy)
        return
    weights = read_intact(load_file, folder / MODEL_FILE, remedy)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    own = dict(model.named_parameters())
    if unexpected or own.keys() & set(missing):
        raise ValueError(f"{folder} is a checkpoint of another model: {sorted(unexpected)} {sorted(missing)}")


def way_back(checkpoint: Path) -> str:
    """The remedy where training cannot go on from a checkpoint."""
    return f"Delete {checkpoint}: training goes on from the checkpoint before it, or begins anew."


def check_state(checkpoint: Path) -> None:
    """Raise `InputError` where a file that the Trainer itself goes on from is missing or damaged.

    Without the optimiser's state or the random numbers it would go on all the same, to other weights than those of an
    uninterrupted run; as it would on another number of processes, by which a batch that is `auto` goes.
    """
    remedy = way_back(checkpoint)
    read_intact(read_json, checkpoint / "trainer_state.json", remedy)
    random_numbers = sorted(checkpoint.glob("rng_state*.pth")) or [checkpoint / "rng_state.pth"]
    if (before := len(random_numbers)) != (now := processes().num_processes):
        reason = f"it was written by {_processes(before)}, and now there {'are' if now > 1 else 'is'} {now}."
        raise InputError(
            Problem(
                str(checkpoint),
                reason,
                f"Launch it with {before}, as it was begun, or choose another --output.",
            )
        )
    for file in (checkpoint / "optimizer.pt", checkpoint / "scheduler.pt", *random_numbers):
        read_intact(_check_archive, file, remedy)


def _processes(number: int) -> str:
    return "one process" if number == 1 else f"{number} processes"


def _check_archive(file: Path) -> None:
    try:
        with ZipFile(file) as archive:  # as torch writes
            damaged = archive.testzip()
    except BadZipFile:  # its directory stands at the end
        raise ValueError("it is cut short") from None
    except (
        RuntimeError,
        NotImplementedError,
        EOFError,
        zlib.error,
    ):  # it claims to be encrypted, or packed otherwise
        raise ValueError("its directory is damaged") from None
    if damaged is not None:
        raise ValueError(f"{damaged} in it is damaged")
