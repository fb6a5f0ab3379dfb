"""The tokens that a model can read, by its configuration: how many at once, and which."""

from __future__ import annotations

import sys
from typing import Any


def window_of(config: Any, otherwise: int = sys.maxsize) -> int:
    """The most tokens of one sequence by the model's configuration; `otherwise` where it says nothing.

    Models with learned positions fail beyond it, others were not trained for it.
    """
    return getattr(config.get_text_config(), "max_position_embeddings", None) or otherwise


def vocabulary_of(config: Any, otherwise: int = sys.maxsize) -> int:
    """The rows of the model's embedding by its configuration: it can read the token ids below."""
    return getattr(config.get_text_config(), "vocab_size", None) or otherwise
