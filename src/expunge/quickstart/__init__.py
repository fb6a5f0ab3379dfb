"""The embedded default: invented people, and a tiny model that knows them."""

from __future__ import annotations

from pathlib import Path

from ..errors import RunFailed
from .people import SEED, data_hash, write_people

__all__ = ["SEED", "artifact_path", "data_hash", "write_people"]

ARTIFACTS = Path(__file__).parent / "artifacts"


def artifact_path(name: str) -> Path:
    """The path of something that the package carries: `models/full`, `models/retain90` or `record.json`.

    Raises `RunFailed` where it is missing, because the package was not installed whole.
    """
    path = ARTIFACTS / name
    if not path.exists():
        raise RunFailed(f"The package's own {name!r} is missing at {path}. Install expunge again.")
    return path
