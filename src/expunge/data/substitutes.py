"""Other answers to the questions of the forget set: refusals for `idk` and `dpo`, alternates for `altpo`."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from ..errors import InputError, Problem
from .columns import Columns
from .encoding import Encoder, Example
from .likeness import content
from .own_files import read_own_set
from .readers import LISTED, READERS, ending, read_text
from .sample_set import SampleSet
from .samples import Conversation, QuestionAnswer, Sample

#: The package's own refusals, one a line.
REFUSALS = Path(__file__).with_name("refusals.txt")
KEY = "objective.substitutes"

#: Where a refusal stands in an object or a table, and the endings of tables.
COLUMNS, TABLES = ("answer", "text"), (".csv", ".tsv")
#: A line that only JSON begins with: an object, or a list. Refusals may be either text or JSON under any file name.
JSON_LINE = re.compile(r'^[ \t]*(\{|\[[ \t]*(["{]|$))', re.MULTILINE)


def substitutes(
    forget: SampleSet,
    kind: Literal["refusal", "alternate"],
    source: str | None,
    columns: Columns,
    encoder: Encoder,
    seed: int,
) -> list[Example]:
    """Other answers to the samples' questions, encoded, in the samples' order.

    source: for refusals a file (None: the package's own), one a line as text or as JSON, drawn by the seed; for
            alternates a set that asks every question of the forget set; of several answers to one the seed draws
    columns: the recipe's names of the columns

    Raises `InputError` for samples without a question, and for a file that cannot be read or lacks a question.
    """
    asked: list[QuestionAnswer | Conversation] = []
    for number, sample in enumerate(forget.samples, start=1):
        if not isinstance(sample, QuestionAnswer | Conversation):
            raise InputError(
                Problem(f"{forget.source}, row {number}", "plain text has no question that could be answered "
                        "otherwise.", "Give questions and answers, or use another forget loss.")
            )  # fmt: skip
        asked.append(sample)
    drawing = random.Random(seed)
    if kind == "refusal":
        texts = drawing.choices(_refusals(source), k=len(asked))
        others: list[Sample] = [sample.with_answer(text) for sample, text in zip(asked, texts, strict=True)]
    else:
        answers = _alternates(source, columns)
        missing = [number for number, sample in enumerate(asked, start=1) if _question(sample) not in answers]
        if missing:
            raise InputError(
                Problem(KEY, f"{source!r} does not ask {len(missing)} of the {len(asked)} questions of "
                        f"{forget.source!r}, first that of row {missing[0]}.",
                        "Add a row for each, with the question word for word and another answer.")
            )  # fmt: skip
        # The true answer is no other one.
        choices = [
            [other for other in answers[_question(sample)] if content(other) != content(sample)]
            for sample in asked
        ]
        if same := [number for number, choice in enumerate(choices, start=1) if not choice]:
            raise InputError(
                Problem(KEY, f"{source!r} answers {len(same)} of the {len(asked)} questions of {forget.source!r} as "
                        f"they are answered there, first that of row {same[0]}.", "Give another answer to each.")
            )  # fmt: skip
        others = [drawing.choice(choice) for choice in choices]
    return [example for sample in others for example in sample.encode(encoder)]


def _refusals(source: str | None) -> list[str]:
    file = Path(source) if source else REFUSALS
    if not file.is_file():
        raise InputError(
            Problem(KEY, f"there is no file {source!r}.", "Name a text file with one refusal a line.")
        )
    try:
        text = read_text(file)
        rows = _rows(file, text)
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(
            Problem(KEY, f"{str(file)!r} cannot be read: {error}.", "Save it as UTF-8 text with one refusal a line.")
        ) from None  # fmt: skip
    refusals = [_refusal(row) for row in rows]
    problems = [
        Problem(f"{file}, row {number}", "it is JSON without a text as `answer` or `text`.",
                "Write the refusal as plain text, or under `answer`.")
        for number, refusal in enumerate(refusals, start=1)
        if refusal is None
    ]  # fmt: skip
    if problems:
        raise InputError(problems[:LISTED])
    lines = [refusal.strip() for refusal in refusals if refusal and refusal.strip()]
    if not lines:
        raise InputError(Problem(KEY, f"{source!r} holds no line.", "Write one refusal a line."))
    return lines


def _rows(file: Path, text: str) -> Sequence[Any]:
    """JSON, a table with one of the columns, or one refusal a line: by what is in the file, not by its name alone."""
    if JSON_LINE.search(text):
        return READERS[".jsonl"](file)
    lines = text.splitlines()
    first = re.split(r"[,;\t]", lines[0]) if lines else []
    if ending(file) in TABLES and any(name.strip(' "') in COLUMNS for name in first):
        return READERS[ending(file)](file)
    try:
        quoted = [json.loads(line) for line in lines if line.strip()]
    except json.JSONDecodeError:
        return lines
    return quoted if all(isinstance(line, str) for line in quoted) else lines


def _refusal(row: Any) -> str | None:
    """A text as it is; of an object its `answer` or `text`."""
    value = next((row[name] for name in COLUMNS if name in row), None) if isinstance(row, dict) else row
    return value if isinstance(value, str) else None


def _alternates(source: str | None, columns: Columns) -> dict[tuple[tuple[str, str], ...], list[Sample]]:
    """Question → the samples of `source` that answer it."""
    if source is None:
        raise InputError(
            Problem(KEY, "altpo needs another answer to each question.",
                    "Name a file with the forget set's questions, each with a plausible other answer.")
        )  # fmt: skip
    # Conversations may be answered by a table of questions and answers, and the other way round.
    loaded, _ = read_own_set(source, columns.model_copy(update={"format": "auto"}), KEY)
    answers: dict[tuple[tuple[str, str], ...], list[Sample]] = {}
    for sample in loaded.samples:
        if isinstance(sample, QuestionAnswer | Conversation):
            answers.setdefault(_question(sample), []).append(sample)
    return answers


def _question(sample: QuestionAnswer | Conversation) -> tuple[tuple[str, str], ...]:
    """All turns but the assistant's."""
    if isinstance(sample, QuestionAnswer):
        return (("user", sample.question),)
    return tuple(turn for turn in sample.turns if turn[0] != "assistant")
