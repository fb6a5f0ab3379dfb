"""What every test has: the folder of shared data, and one seed."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

#: Fixtures for all folders: a model of words, and small models and data for whole runs.
pytest_plugins = ["small_runs", "word_models"]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The ../shared folder; tests that need it are skipped where it is absent."""
    folder = Path(__file__).parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("needs ../shared (models and data that are not in the repository)")
    return folder


@pytest.fixture(autouse=True)
def _one_seed() -> None:
    torch.manual_seed(0)
