"""TOFU's evaluation questions, from a folder or from the hub, checked before anything is measured."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from ...data.rows import read_file, read_rows
from ...errors import InputError, Problem
from ...hub import ask, connection_remedy, is_hub_id

SETS = ("forget", "retain", "real_authors", "world_facts")


@dataclass(frozen=True)
class Question:
    """One row of an evaluation set, the file's `row`-th. `paraphrased` is None where there are no paraphrased answers,
    `reworded` where there are no paraphrased questions."""

    question: str
    answer: str
    paraphrased: str | None
    perturbed: tuple[str, ...]
    reworded: str | None = None
    row: int = 0


def set_names(forget: str) -> dict[str, str]:
    """Evaluation set → the name of its file without `.json`, which is its configuration on the hub."""
    return {name: f"{forget if name == 'forget' else name}_perturbed" for name in SETS}


def load_questions(path: str | Path, forget: str) -> dict[str, list[Question]]:
    """The four evaluation sets from a folder of JSON lines or from a data set on the hub (`locuslab/TOFU`).

    Raises InputError with every missing file, broken line and missing column at once, and where a folder's file does
    not ask what the plain file beside it does.
    """
    names = set_names(forget)
    folder = Path(path)
    if folder.is_dir():
        rows = _read_folder(folder, names)
    elif is_hub_id(str(path)):
        rows = {name: (f"{path}: {config}", _read_hub(str(path), config)) for name, config in names.items()}
    else:
        remedy = "Name a folder with TOFU's files or a data set on the hub, such as locuslab/TOFU."
        raise InputError(Problem(f"data.path: {path}", "there is no such folder.", remedy))
    problems: list[Problem] = []
    for where, part in rows.values():
        problems += _problems(where, part)
    if folder.is_dir() and not problems:
        problems += _misaligned(folder, rows.values())
    if problems:
        raise InputError(problems)
    return {
        name: [_question(row, number) for number, row in enumerate(part, start=1)]
        for name, (_, part) in rows.items()
    }


def _read_folder(folder: Path, names: dict[str, str]) -> dict[str, tuple[str, list[Any]]]:
    rows: dict[str, tuple[str, list[Any]]] = {}
    problems: list[Problem] = []
    for name, stem in names.items():
        file = folder / f"{stem}.json"
        if not file.is_file():
            there = ", ".join(sorted(path.stem for path in folder.glob("*_perturbed.json"))) or "none"
            remedy = f"Download it from locuslab/TOFU. Perturbed files there are: {there}."
            problems.append(Problem(str(file), "the file is missing.", remedy))
            continue
        try:
            rows[name] = (str(file), read_file(file, "data.path"))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return rows


def _read_hub(path: str, config: str) -> list[Any]:
    from datasets import load_dataset

    ask("data set", f"{path}:{config}:train")
    try:
        return list(load_dataset(path, config, split="train"))
    except (OSError, ValueError) as error:  # the hub's errors and an unknown configuration are among these
        remedy = connection_remedy("name a local folder with TOFU's files.")
        raise InputError(
            Problem(f"data.path: {path}", f"{config} could not be loaded ({error}).", remedy)
        ) from error


def _problems(where: str, rows: list[Any]) -> Iterable[Problem]:
    if not rows:
        yield Problem(where, "there are no questions in it.", "Give a file with at least one row.")
    paraphrases = any(isinstance(row, dict) and "paraphrased_answer" in row for row in rows)
    columns = ["question", "answer", *(["paraphrased_answer"] if paraphrases else [])]
    for number, row in enumerate(rows, start=1):
        place = f"{where}, row {number}"
        if not isinstance(row, dict):
            yield Problem(place, "the row is not an object.", "Write one JSON object a line.")
            continue
        for column in columns:
            if not isinstance(row.get(column), str):
                reason = f"the column {column!r} is missing or is not text."
                yield Problem(place, reason, f"Add {column!r} to every row.")
            elif not row[column].strip():
                yield Problem(place, f"the {column!r} is empty.", "Restore the file from locuslab/TOFU.")
        wrong = row.get("perturbed_answer")
        if not isinstance(wrong, list) or not wrong or not all(isinstance(text, str) for text in wrong):
            reason = "the column 'perturbed_answer' is missing or is not a list of texts."
            yield Problem(place, reason, "Add at least one wrong answer to every row.")
        elif not all(text.strip() for text in wrong):
            reason = "one of the texts in 'perturbed_answer' is empty."
            yield Problem(place, reason, "Restore the file from locuslab/TOFU.")


def _misaligned(folder: Path, sets: Iterable[tuple[str, list[Any]]]) -> Iterator[Problem]:
    """Files whose rows are not those of the plain file beside them, which is what a run trains on."""
    for where, rows in sets:
        plain = folder / f"{Path(where).stem.removesuffix('_perturbed')}.json"
        if not plain.is_file():  # there is none of `retain_perturbed`
            continue
        here, there = (
            [(row.get("question"), row.get("answer")) for row in part]
            for part in (rows, read_rows(str(plain), "data.path"))
        )
        apart = [row for row, pair in enumerate(zip_longest(here, there), start=1) if pair[0] != pair[1]]
        if apart:
            yield Problem(
                f"{where}, row {apart[0]}",
                f"its question and answer are not those of the same row of {plain} "
                f"({len(apart)} rows differ; the files hold {len(here)} and {len(there)}).",
                "Restore both files from locuslab/TOFU: the same questions in the same order.",
            )


def _question(row: dict[str, Any], number: int) -> Question:
    return Question(
        row["question"],
        row["answer"],
        row.get("paraphrased_answer"),
        tuple(row["perturbed_answer"]),
        reworded if isinstance(reworded := row.get("paraphrased_question"), str) else None,
        number,
    )
