"""The Training Data Extraction Challenge: token sequences that a model has by heart, and text to keep beside them.

The challenge's files are npy arrays of token ids, a row a sequence: 100 tokens of pre-prefix, 50 of prefix and 50 of
suffix. Others hand on the same sequences as a table with a column `text`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...data.encoding import Encoder, Example
from ...data.readers import ending
from ...data.rows import Row, read_rows
from ...data.samples import Sample, Text
from ...errors import InputError, Problem
from ...models.answers import IGNORED

#: Tokens of a sequence, in all and by part.
LENGTH = 200
PARTS = {"preprefix": 100, "prefix": 50, "suffix": 50}
#: The challenge's splits lie in one folder; the first is read where it is there.
SPLITS = ("train", "val", "test")

#: Problems of one file that are listed.
LISTED = 10


@dataclass(frozen=True)
class TokenSequence:
    """Token ids that are taken as they are: no template, no special tokens. All but the first are labels."""

    ids: tuple[int, ...]

    def encode(self, encoder: Encoder) -> list[Example]:
        return [Example(list(self.ids), [IGNORED, *self.ids[1:]])]

    def prompt(self, encoder: Encoder) -> None:
        return None

    @property
    def truth(self) -> None:
        return None


@dataclass(frozen=True)
class SequenceText:
    """A sequence as text: its first 200 tokens, without special tokens, are taken as a `TokenSequence`.

    The same text is not always cut into the same tokens again, so a text may come out somewhat shorter or longer.
    """

    text: str

    def encode(self, encoder: Encoder) -> list[Example]:
        ids = encoder.tokenizer(self.text, add_special_tokens=False)["input_ids"][:LENGTH]
        return TokenSequence(tuple(ids)).encode(encoder)

    def prompt(self, encoder: Encoder) -> None:
        return None

    @property
    def truth(self) -> None:
        return None


def forget_set(path: str, number: int, size: int, key: str) -> list[Sample]:
    """The forget set `number` of the sequences in `path`: rows number · size and the following, `size` in all.

    Raises `InputError` as `read_sequences` does, and where there are fewer sets.
    """
    sequences = read_sequences(path, key)
    chosen = sequences[number * size : (number + 1) * size]
    if not chosen:
        last = (len(sequences) - 1) // size
        raise InputError(
            Problem(f"{key}: {path}", f"its {len(sequences)} sequences have no forget set {number} of {size}.",
                    f"Choose a number from 0 to {last}.")
        )  # fmt: skip
    return chosen


def read_sequences(path: str, key: str) -> list[Sample]:
    """All sequences of `path`, in their order.

    path: a folder with `preprefix.npy`, `prefix.npy` and `suffix.npy` (names such as `train_prefix.npy` will do; of the
          challenge's files, which lie in one folder, those of `train_` are read), an npy file with whole sequences, or
          what `read_rows` reads, with a column `text`
    key:  the recipe key or option that names it, for messages

    Raises `InputError` for arrays that are missing, of another shape, or not of token ids, and for rows without text.
    """
    where = Path(path)
    if where.is_dir() and any(where.glob("*.npy")):
        return _token_sequences(_read_parts(where))
    if where.is_file() and where.suffix == ".npy":
        array, problems = _read_array(where, LENGTH)
        if array is None:
            raise InputError(problems)
        return _token_sequences(array)
    return [SequenceText(text) for text in _read_texts(path, key)]


def held_out_sequences(path: str, encoder: Encoder, key: str) -> list[Sample]:
    """Sequences of text that the model never saw, for thresholds: token sequences, or whole stretches of texts.

    A text gives as many sequences of 200 tokens as it holds; what is left over is not used. Raises `InputError` where
    there is not even one.
    """
    sequences = read_sequences(path, key)
    whole: list[Sample] = []
    for sequence in sequences:
        if isinstance(sequence, SequenceText):
            ids = encoder.tokenizer(sequence.text, add_special_tokens=False)["input_ids"]
            starts = range(0, len(ids) - LENGTH + 1, LENGTH)
            whole += [TokenSequence(tuple(ids[start : start + LENGTH])) for start in starts]
        else:
            whole.append(sequence)
    if not whole:
        raise InputError(
            Problem(f"{key}: {path}", f"none of its {len(sequences)} texts holds {LENGTH} tokens.",
                    "Give longer texts.")
        )  # fmt: skip
    return whole


def retain_texts(source: str, key: str) -> list[Sample]:
    """The texts to keep: the rows of `source`, of a txt file the lines. Blank ones are left out, as WikiText has many.

    Raises `InputError` where there is nothing to read, or no text in it.
    """
    rows = _rows_with_text(source, key)
    texts = [row["text"] or "" for row in rows]
    if ending(Path(source)) == ".txt":
        texts = [line for text in texts for line in text.split("\n")]  # as readers do it, which know of \r
    kept: list[Sample] = [Text(text) for text in texts if text.strip()]
    if not kept:
        raise InputError(Problem(key, f"{source!r} holds no text.", "Give at least one line of it."))
    return kept


def _token_sequences(array: np.ndarray) -> list[Sample]:
    return [TokenSequence(tuple(row)) for row in array.tolist()]


def _read_parts(folder: Path) -> np.ndarray:
    """The three parts side by side, (sequences, 200)."""
    arrays: dict[Path, np.ndarray] = {}
    problems: list[Problem] = []
    for part, width in PARTS.items():
        pattern = re.compile(rf"(.*_)?{part}\.npy")
        files = [file for file in sorted(folder.iterdir()) if pattern.fullmatch(file.name)]
        published = [f"{split}_{part}.npy" for split in SPLITS]
        if {file.name for file in files} <= set(published):
            files = [file for file in files if file.name == published[0]] or files
        if len(files) != 1:
            there = ", ".join(file.name for file in files) or "none"
            reason = f"it must hold one file {part}.npy of {width} tokens a row, and there is {there}."
            remedy = "Name a folder with one preprefix, one prefix and one suffix of the same rows."
            problems.append(Problem(str(folder), reason, remedy))
            continue
        array, faults = _read_array(files[0], width)
        problems += faults
        if array is not None:
            arrays[files[0]] = array
    rows = {file.name: len(array) for file, array in arrays.items()}
    if len(set(rows.values())) > 1:
        counts = ", ".join(f"{name} has {count}" for name, count in rows.items())
        problems.append(
            Problem(str(folder), f"its files differ in their number of rows: {counts}.",
                    "Use files whose rows belong together.")
        )  # fmt: skip
    if problems:
        raise InputError(problems)
    return np.concatenate(list(arrays.values()), axis=1)


def _read_array(file: Path, width: int) -> tuple[np.ndarray | None, list[Problem]]:
    """Token ids, (sequences, width), or None and what is wrong with the file."""
    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = f"it cannot be read as an array of numbers ({' '.join(str(error).split())[:150]})."
        return None, [Problem(str(file), reason, "Save it anew with numpy.save.")]
    if not np.issubdtype(array.dtype, np.integer):
        reason = f"it holds {array.dtype}, not token ids."
        return None, [Problem(str(file), reason, "Save the token ids as whole numbers.")]
    if array.ndim != 2 or array.shape[1] != width or not len(array):
        reason = f"its shape is {array.shape}, not (sequences, {width})."
        return None, [Problem(str(file), reason, f"Give {width} token ids for each sequence.")]
    negative = [
        Problem(f"{file}, row {row}", "it holds a negative number, which is no token id.",
                "Leave the row out: padding cannot be forgotten.")
        for row in (array < 0).any(axis=1).nonzero()[0][:LISTED] + 1
    ]  # fmt: skip
    return (None if negative else array), negative


def _read_texts(path: str, key: str) -> list[str]:
    rows = _rows_with_text(path, key)
    blank = [number for number, row in enumerate(rows, start=1) if not (row["text"] or "").strip()]
    if blank:
        raise InputError(
            Problem(f"{path}, row {row}", "its text is empty.", "Fill it in or leave the row out.")
            for row in blank[:LISTED]
        )
    return [row["text"] for row in rows]


def _rows_with_text(source: str, key: str) -> Sequence[Row]:
    rows = read_rows(source, key)
    if not rows:
        raise InputError(Problem(key, f"{source!r} holds no rows.", "Give at least one."))
    problems = [
        _without_text(row, f"{source}, row {number}")
        for number, row in enumerate(rows, start=1)
        if not isinstance(row.get("text", 0), str | None)
    ]
    if problems:
        raise InputError(problems[:LISTED])
    return rows


def _without_text(row: Row, where: str) -> Problem:
    if "text" in row:
        return Problem(
            where,
            f"the 'text' is of type {type(row['text']).__name__}, not text.",
            "Write it as text, in quotes.",
        )
    return Problem(where, f"it has no column 'text' (columns: {', '.join(row)}).",
                   "Name the column with the text 'text'.")  # fmt: skip
