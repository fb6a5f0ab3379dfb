"""The origin of an exported adapter: a file beside its weights names its base, and any other base is refused.

Nothing here loads torch: the model card names the base as well.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import InputError, Problem
from ..intact import read_intact, read_object
from ..storage import write_json

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
#: The way out where an adapter that was handed over is broken.
EXPORT_AGAIN = "Restore the file, or take the adapter from its run again."
FINGERPRINT_FILE = "base_fingerprint.json"


@dataclass(frozen=True)
class Origin:
    """The model that an adapter belongs to.

    base:        its name
    fingerprint: of the model that the adapter was trained on, the adapters beneath it included
    original:    of that model without any adapter
    beneath:     identities (see `identity`) of the adapters that had been added to it, in order
    """

    base: str | None
    fingerprint: str
    original: str
    beneath: tuple[str, ...] = ()


def identity(adapter: Path) -> str:
    """A hash of an adapter's weights."""
    weights = read_intact(Path.read_bytes, adapter / WEIGHTS_FILE, EXPORT_AGAIN)
    return hashlib.sha256(weights).hexdigest()[:32]


def origin_on(base: str | None, fingerprint: str, beneath: Sequence[Path]) -> Origin:
    """The origin of an adapter that was trained on the model `base` with the adapters `beneath` added."""
    original = read_origin(beneath[0]).original if beneath else fingerprint
    return Origin(base, fingerprint, original, tuple(identity(folder) for folder in beneath))


def write_origin(origin: Origin, adapter: Path) -> None:
    write_json(adapter / FINGERPRINT_FILE, asdict(origin))


def read_origin(adapter: Path, key: str | None = None) -> Origin:
    """The origin. Raises `InputError` where the folder holds no adapter that expunge exported, or a damaged record.

    key: the recipe's key that names the folder, if one does, for the message
    """
    file = adapter / FINGERPRINT_FILE
    weights = os.path.isfile(adapter / WEIGHTS_FILE)  # False for a name too long; Path.is_file raises
    if not weights or not file.is_file():
        missing = FINGERPRINT_FILE if weights else WEIGHTS_FILE
        where = f"{key}: {adapter}" if key else str(adapter)
        raise InputError(
            Problem(where, f"it holds no {missing}, so its base is unknown.",
                    "Give an adapter that expunge exported.")
        )  # fmt: skip
    content = read_object(file, "the record of an adapter's base", ("base", "fingerprint"), EXPORT_AGAIN)
    # Adapters of version 0.1.0 know of no adapter beneath them.
    return Origin(
        content["base"],
        content["fingerprint"],
        content.get("original", content["fingerprint"]),
        tuple(content.get("beneath", ())),
    )
