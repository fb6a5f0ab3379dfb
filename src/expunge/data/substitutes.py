"""Other answers to the questions of the forget set: refusals for `idk` and `dpo`, alternates for `altpo`."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..errors import InputError, Problem
from ..recipe.data import OwnData
from .encoding import Encoder, Example
from .rows import ENCODING, read_rows
from .samples import Conversation, QuestionAnswer, Sample, to_samples
from .sets import SampleSet

#: The package's own refusals, one a line.
REFUSALS = Path(__file__).with_name("refusals.txt")
KEY = "objective.substitutes"


def substitutes(
    forget: SampleSet,
    kind: Literal["refusal", "alternate"],
    source: str | None,
    encoder: Encoder,
    seed: int,
) -> list[Example]:
    """Another answer to each sample's question, encoded, in the samples' order.

    source: for refusals a file with one a line (None: the package's own), drawn by the seed; for alternates a file
            with the same questions in the same order, each with another answer

    Raises `InputError` for samples without a question, and for a file that does not fit.
    """
    texts = (
        _refusals(source, len(forget.samples), seed)
        if kind == "refusal"
        else _alternates(source, forget.samples)
    )
    examples = []
    for number, (sample, text) in enumerate(zip(forget.samples, texts, strict=True), start=1):
        if not isinstance(sample, QuestionAnswer | Conversation):
            raise InputError(
                Problem(f"{forget.source}, row {number}", "plain text has no question that could be answered "
                        "otherwise.", "Give questions and answers, or use another forget loss.")
            )  # fmt: skip
        examples += sample.with_answer(text).encode(encoder)
    return examples


def _refusals(source: str | None, count: int, seed: int) -> list[str]:
    file = Path(source) if source else REFUSALS
    if not file.is_file():
        raise InputError(
            Problem(KEY, f"there is no file {source!r}.", "Name a text file with one refusal a line.")
        )
    lines = [line.strip() for line in file.read_text(encoding=ENCODING).splitlines() if line.strip()]
    if not lines:
        raise InputError(Problem(KEY, f"{source!r} holds no line.", "Write one refusal a line."))
    return random.Random(seed).choices(lines, k=count)


def _alternates(source: str | None, samples: Sequence[Sample]) -> list[str]:
    if source is None:
        raise InputError(
            Problem(KEY, "altpo needs another answer to each question.",
                    "Name a file with the forget set's questions in their order, each with a plausible other answer.")
        )  # fmt: skip
    rows = to_samples(read_rows(source, KEY), "qa", OwnData(format="qa", forget=source), source)
    questions = [sample.question if isinstance(sample, QuestionAnswer) else None for sample in samples]
    problems = [
        Problem(f"{source}, row {number}", "its question is not that of the forget set's same row.",
                "Keep the forget set's questions and their order.")
        for number, (row, question) in enumerate(zip(rows, questions, strict=False), start=1)
        if not isinstance(row, QuestionAnswer) or row.question != question
    ]  # fmt: skip
    if len(rows) != len(samples):
        problems.append(
            Problem(
                KEY, f"{source!r} has {len(rows)} rows, the forget set {len(samples)}.", "Give one for each."
            )
        )
    if problems:
        raise InputError(problems[:10])
    return [row.answer for row in rows if isinstance(row, QuestionAnswer)]
