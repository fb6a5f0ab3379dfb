"""What the model says of the forget set, question by question: blocked out, or in full for its owner."""

from __future__ import annotations

from dataclasses import dataclass

from ..evaluation.log import QuestionRecord
from ..evaluation.rouge import rouge_scores
from ..folder.run import STAGES, RunFolder
from . import quantities

#: How many questions are shown blocked out, and how many words of each answer.
SAMPLES, WORDS = 5, 10
BLOCK = "███"
#: The words that stay readable. They name nobody and nothing, so that a report in the open gives nothing away.
FUNCTION_WORDS = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "been", "but", "by", "for", "from", "had", "has", "have", "in", "is",
     "it", "its", "of", "on", "or", "that", "the", "their", "they", "this", "to", "was", "were", "which", "who", "with")
)  # fmt: skip


@dataclass(frozen=True)
class Said:
    """An answer as it is shown. share: how much of the right answer's words it has (ROUGE-L recall); None if unknown"""

    text: str
    share: float | None = None


@dataclass(frozen=True)
class Sample:
    """A question of the forget set, by its index: the right answer, and what each model generates."""

    index: int
    truth: Said
    before: Said
    after: Said
    reference: Said


def samples(folder: RunFolder, whole: bool) -> list[Sample]:
    """Every question in full with `whole`; else the beginnings of the answers, blocked out, to the `SAMPLES` questions
    of which the model after unlearning says most, worst first. Empty where nothing was generated."""
    sides = {
        stage: {record.index: record for record in folder.logs[stage].sets.get("forget", ())}
        if stage in folder.logs
        else {}
        for stage in STAGES
    }
    records = {index: record for side in reversed(sides.values()) for index, record in side.items()}
    if whole:
        return [_sample(index, record, sides, whole) for index, record in sorted(records.items())]
    after = sides["after"]
    pairs = {
        index: (record.truth, record.generation)
        for index, record in after.items()
        if record.truth and record.generation is not None
    }
    recall = {
        index: score.rougeL_recall for index, score in zip(pairs, rouge_scores(pairs.values()), strict=True)
    }
    worst = sorted(recall, key=lambda index: (-recall[index], index))[:SAMPLES]
    return [_sample(index, after[index], sides, whole) for index in worst]


def _sample(
    index: int, record: QuestionRecord, sides: dict[str, dict[int, QuestionRecord]], whole: bool
) -> Sample:
    truth = record.truth or ""
    said = {stage: _said(side.get(index), truth, whole) for stage, side in sides.items()}
    return Sample(index, Said(truth if whole else blocked_out(truth)), **said)


def _said(record: QuestionRecord | None, truth: str, whole: bool) -> Said:
    if record is None or record.generation is None:
        return Said(quantities.NONE)
    share = rouge_scores([(truth, record.generation)])[0].rougeL_recall if truth else None
    return Said(record.generation if whole else blocked_out(record.generation), share)


def blocked_out(text: str) -> str:
    """The first `WORDS` words, of which only the `FUNCTION_WORDS` can be read."""
    words = text.split()
    shown = [word if word.lower() in FUNCTION_WORDS else BLOCK for word in words[:WORDS]]
    return " ".join([*shown, *(["…"] if len(words) > WORDS else [])]) or quantities.NONE
