"""A TOFU of a few rows, in the words of `conftest.word_tokenizer`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def tofu_rows() -> dict[str, list[dict[str, Any]]]:
    """File name → rows. Every text is different, so that a mix-up shows."""
    words = iter(f"w{3 + number % 61}" for number in range(10_000))

    def text(length: int) -> str:
        return " ".join(next(words) for _ in range(length))

    def row(wrong: int, paraphrased: bool) -> dict[str, Any]:
        extra = {"paraphrased_answer": text(4)} if paraphrased else {}
        answers = [text(2 + number) for number in range(wrong)]
        return {"question": text(5), "answer": text(3), **extra, "perturbed_answer": answers}

    return {
        "forget01_perturbed.json": [row(5, True) for _ in range(3)],
        "retain_perturbed.json": [row(4, True) for _ in range(2)],
        "real_authors_perturbed.json": [row(3, False) for _ in range(2)],
        "world_facts_perturbed.json": [row(3, False) for _ in range(3)],
    }


def write_tofu(folder: Path, rows: dict[str, list[Any]] | None = None) -> Path:
    for name, part in (rows or tofu_rows()).items():
        (folder / name).write_text("\n".join(json.dumps(row) for row in part) + "\n")
    return folder
