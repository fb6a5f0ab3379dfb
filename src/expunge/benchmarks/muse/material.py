"""The evaluation sets that MUSE measures a model on, read from its files and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ...data.rows import Unreachable
from ...errors import InputError, Problem
from ...storage import hash_rows
from .files import PASSAGES, QUESTIONS, TEXTS, read_split, split_label


@dataclass(frozen=True)
class Continuation:
    """A text and what truly follows it: a passage, or questions with answers of which the last is open."""

    prompt: str
    truth: str


@dataclass(frozen=True)
class Material:
    """The evaluation sets; the names of the fields are those of the log's sets.

    forget_verbatim:                    passages of the forget set
    forget_knowledge, retain_knowledge: questions about the forget and the retain set, after solved ones
    forget_texts, holdout_texts:        whole texts, forgotten and never seen, for membership inference
    """

    forget_verbatim: Sequence[Continuation]
    forget_knowledge: Sequence[Continuation]
    retain_knowledge: Sequence[Continuation]
    forget_texts: Sequence[str]
    holdout_texts: Sequence[str]

    @property
    def hash(self) -> str:
        return hash_rows([asdict(self)])


#: Set of the log → its split.
SPLITS = {
    "forget_verbatim": "verbmem/forget",
    "forget_knowledge": "knowmem/forget_qa",
    "retain_knowledge": "knowmem/retain_qa",
    "forget_texts": "privleak/forget",
    "holdout_texts": "privleak/holdout",
}


def load_material(path: str, samples: int | None = None) -> Material:
    """Read and check every split that is measured, and keep its first `samples` rows.

    The solved questions of `knowmem/*_icl` are never cut. Raises `InputError` with the problems of all splits.
    """
    problems: list[Problem] = []

    def rows(name: str, columns: Sequence[str]) -> list[tuple[str, ...]]:
        try:
            split = read_split(path, name, columns, "path")
        except Unreachable:
            raise  # and so would every other split be, after as long a wait
        except InputError as error:
            problems.extend(error.problems)
            return []
        return [tuple(row[column] for column in columns) for row in split]

    def questions(name: str) -> list[Continuation]:
        solved = rows(f"{name}_icl", QUESTIONS)
        return [_asked(solved, *row) for row in rows(name, QUESTIONS)[:samples]]

    verbatim = [Continuation(*row) for row in rows(SPLITS["forget_verbatim"], PASSAGES)]
    about_forget, about_retain = (questions(SPLITS[f"{side}_knowledge"]) for side in ("forget", "retain"))
    forgotten, holdout = (
        [text for (text,) in rows(SPLITS[f"{side}_texts"], TEXTS)] for side in ("forget", "holdout")
    )
    problems = problems or _seen_after_all(path, forgotten, holdout)
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    return Material(verbatim[:samples], about_forget, about_retain, forgotten[:samples], holdout[:samples])


def _asked(solved: Sequence[tuple[str, ...]], question: str, answer: str) -> Continuation:
    """The authors' few-shot prompt, the space at its end included."""
    shown = "".join(f"Question: {asked}\nAnswer: {answered}\n\n" for asked, answered in solved)
    return Continuation(f"{shown}Question: {question}\nAnswer: ", answer)


def _seen_after_all(path: str, forgotten: Sequence[str], holdout: Sequence[str]) -> list[Problem]:
    places = {text: row for row, text in enumerate(forgotten, start=1)}
    return [
        Problem(f"{split_label(path, SPLITS['holdout_texts'])}, row {row}",
                f"it is row {places[text]} of {split_label(path, SPLITS['forget_texts'])}.",
                "Restore the files: the holdout is what the model never saw.")
        for row, text in enumerate(holdout, start=1)
        if text in places
    ][:10]  # fmt: skip
