"""What the model says of the forget set, by question or text: blocked out, or in full for its owner."""

from __future__ import annotations

from collections.abc import Callable
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
    """A question of the forget set, by its index: the right answer, and what each model generates; or a text: its
    beginning, which is given (None of a question), how it goes on, and how each model goes on."""

    index: int
    begun: str | None
    truth: Said
    before: Said
    after: Said
    reference: Said


@dataclass(frozen=True)
class _Asked:
    """What one model was asked, and what it wrote; None where it was not asked to write."""

    begun: str | None
    truth: str
    written: str | None


def samples(folder: RunFolder, whole: bool) -> list[Sample]:
    """Every question, or text that was gone on with, in full with `whole`; else the beginnings, blocked out, of the
    `SAMPLES` of which the model after unlearning says most, worst first. Empty where nothing was generated."""
    sides = {
        stage: {
            record.index: asked
            for record in (folder.logs[stage].sets.get("forget", ()) if stage in folder.logs else ())
            if (asked := _asked(record))
        }
        for stage in STAGES
    }
    if whole:
        return [
            _sample(index, sides, whole)
            for index in sorted({index for side in sides.values() for index in side})
        ]
    pairs = {
        index: (asked.truth, asked.written)
        for index, asked in sides["after"].items()
        if asked.truth and asked.written is not None
    }
    recall = {
        index: score.rougeL_recall for index, score in zip(pairs, rouge_scores(pairs.values()), strict=True)
    }
    worst = sorted(recall, key=lambda index: (-recall[index], index))[:SAMPLES]
    return [_sample(index, sides, whole) for index in worst]


def _asked(record: QuestionRecord) -> _Asked | None:
    if record.continued is not None:
        return _Asked(record.continued.begun, record.continued.truth, record.continued.written)
    return None if record.truth is None else _Asked(None, record.truth, record.generation)


def _sample(index: int, sides: dict[str, dict[int, _Asked]], whole: bool) -> Sample:
    shown = (lambda text: text) if whole else blocked_out
    asked = next(sides[stage][index] for stage in ("after", "before", "reference") if index in sides[stage])
    said = {stage: _said(side.get(index), shown) for stage, side in sides.items()}
    begun = None if asked.begun is None else shown(asked.begun)
    return Sample(index, begun, Said(shown(asked.truth)), **said)


def _said(asked: _Asked | None, shown: Callable[[str], str]) -> Said:
    if asked is None or asked.written is None:
        return Said(quantities.NONE)
    share = rouge_scores([(asked.truth, asked.written)])[0].rougeL_recall if asked.truth else None
    return Said(shown(asked.written), share)


def blocked_out(text: str) -> str:
    """The first `WORDS` words, of which only the `FUNCTION_WORDS` can be read: in small letters, for "The Who" and "It"
    are names, and not where they are all that there is."""
    words = text.split()
    shown = [word if word in FUNCTION_WORDS else BLOCK for word in words[:WORDS]]
    if BLOCK not in shown:
        shown = [BLOCK] * len(shown)
    return " ".join([*shown, *(["…"] if len(words) > WORDS else [])]) or quantities.NONE
