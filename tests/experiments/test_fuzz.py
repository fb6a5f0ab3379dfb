"""A small share of the fuzz: what people bring is read right, or refused with a sentence."""

from __future__ import annotations

from fuzz import fuzz

import tokenizer_families


def test_recipes_and_files() -> None:
    tokenizers = [tokenizer_families.chat(), tokenizer_families.gpt2_like()]
    seen = fuzz(20, 20, tokenizers)
    assert sum(seen["recipes"][what] for what in ("read", "refused")) >= 20
    assert sum(seen["files"][what] for what in ("read", "refused")) >= 20
    assert seen["files"]["read"] > 3
