"""A MUSE of a few rows, with the splits and columns of muse-bench/MUSE-News, in the words of `word_tokenizer`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet

Splits = dict[str, list[dict[str, str]]]


def muse_splits() -> Splits:
    """Split → rows. Every text is different, so that a mix-up shows."""
    words = iter(f"w{3 + (number * 7 + number // 61) % 61}" for number in range(20_000))

    def text(length: int) -> str:
        return " ".join(next(words) for _ in range(length))

    def texts(count: int) -> list[dict[str, str]]:
        return [{"text": text(60)} for _ in range(count)]

    def questions(count: int) -> list[dict[str, str]]:
        return [{"question": text(4), "answer": text(3)} for _ in range(count)]

    def passages(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        split = [row["text"].split() for row in rows]
        return [{"prompt": " ".join(part[:20]), "gt": " " + " ".join(part[20:])} for part in split]

    forget, retain, holdout = texts(4), texts(5), texts(3)
    return {
        "raw/forget": forget,
        "raw/retain1": retain,
        "raw/retain2": texts(2),
        "raw/holdout": holdout,
        "verbmem/forget": passages(forget[:3]),
        "knowmem/forget_qa": questions(4),
        "knowmem/forget_qa_icl": questions(4),
        "knowmem/retain_qa": questions(3),
        "knowmem/retain_qa_icl": questions(1),
        "privleak/forget": forget,
        "privleak/retain": retain[:2],
        "privleak/holdout": holdout,
        "scal/forget_1": forget,
        "scal/forget_2": forget + texts(2),
        "sust/forget_1": forget,
        "sust/forget_2": texts(3),
    }


def write_muse(folder: Path, ending: str = ".jsonl", splits: Splits | None = None) -> str:
    for name, rows in (splits or muse_splits()).items():
        write_split(folder / f"{name}{ending}", rows)
    return str(folder)


def write_split(path: Path, rows: list[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        path.write_text(json.dumps(rows))
