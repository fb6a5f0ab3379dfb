"""The challenge's files with a few sequences of 200 tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np

PARTS = {"preprefix": 100, "prefix": 50, "suffix": 50}


def write_tdec(folder: Path, sequences: np.ndarray) -> Path:
    """(sequences, 200) token ids as the challenge has them: three arrays of uint16."""
    folder.mkdir(parents=True, exist_ok=True)
    start = 0
    for part, width in PARTS.items():
        np.save(folder / f"train_{part}.npy", sequences[:, start : start + width].astype(np.uint16))
        start += width
    return folder


def random_sequences(count: int, vocabulary: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(3, vocabulary, size=(count, 200))
