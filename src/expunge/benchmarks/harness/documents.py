"""The documents of lm-eval's tasks: whether a model can be asked them, and which choice is the right one.

lm-eval scores a document whose answer is none of its choices as wrong whatever the model says, and writes a missing
question as `None`. So every document is checked before a model is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import islice
from typing import Any

import lm_eval.utils
import numpy as np
from lm_eval.api.task import ConfigurableTask

from ...errors import Problem

#: Broken documents of one task that are listed.
LISTED = 10


def judged_by_lm_eval(task: Any) -> bool:
    """Whether lm-eval itself scores the answers; other tasks bring code that does."""
    return type(task).process_results is ConfigurableTask.process_results and not callable(
        task.config.process_results
    )


def right_choice(task: Any, document: dict[str, Any]) -> int | None:
    """The place of the right choice, as lm-eval finds it, and the first of several.

    None where nothing is chosen, where code of the task's own judges, or where no choice is right.
    """
    if task.OUTPUT_TYPE != "multiple_choice" or not judged_by_lm_eval(task):
        return None
    places = _right_places(task, document)
    return places[0] if places else None


def broken_documents(name: str, task: Any, samples: int | None) -> list[Problem]:
    """One problem for every document, of the first `samples`, that cannot be asked or judged; ten are listed."""
    problems: list[Problem] = []
    with _templates_compiled_once():
        for number, document in enumerate(islice(task.eval_docs, samples), start=1):
            try:
                fault = _fault(task, document)
            except Exception as error:  # whatever a template or function of the task raises
                fault = (
                    f"it cannot be written ({type(error).__name__}: {' '.join(str(error).split())[:200]})."
                )
            if fault is not None:
                remedy = "Correct its row of the data, or leave it out."
                problems.append(Problem(f"task {name}, document {number}", fault, remedy))
            if len(problems) == LISTED:
                break
    return problems


def _fault(task: Any, document: dict[str, Any]) -> str | None:
    shown: list[Callable[[Any], Any]] = [task.doc_to_text]
    if judged_by_lm_eval(task):
        chosen = task.OUTPUT_TYPE == "multiple_choice" or (
            task.OUTPUT_TYPE == "generate_until" and task.config.doc_to_choice is not None
        )
        if chosen and (fault := _fault_of_choices(task, document)):
            return fault
        if not chosen or task.multiple_input:
            shown.append(task.doc_to_target)
    for write in shown:
        if column := _null_in(write, document):
            return f"its {column!r} lacks a value, in whose place the word None would be asked or expected."
    return None


def _fault_of_choices(task: Any, document: dict[str, Any]) -> str | None:
    answer, choices = _answer(task, document), task.doc_to_choice(document)
    if not isinstance(choices, list | tuple) or not all(isinstance(choice, str) for choice in choices):
        return f"its choices are {choices!r}, not a list of texts."
    if isinstance(answer, list) != bool(task.multiple_target) and not task.multiple_input:
        first = "a list" if task.multiple_target else "one"
        return f"its answer is {answer!r}, where that of the first document is {first}."
    if not _right_places(task, document):
        return f"its answer is {answer!r}, which is none of its {len(choices)} choices."
    return None


def _answer(task: Any, document: dict[str, Any]) -> Any:
    """The field that says which choice is right: the text where the choices are put into the question."""
    return task.doc_to_text(document) if task.multiple_input else task.doc_to_target(document)


def _right_places(task: Any, document: dict[str, Any]) -> list[int]:
    """Places of the right choices; none where one of them lies outside of the choices."""
    answer, choices = _answer(task, document), task.doc_to_choice(document)
    if isinstance(answer, str):
        return [choices.index(answer)] if answer in choices else []
    places = answer if isinstance(answer, list) else [answer]
    inside = all(isinstance(place, int | np.integer) and 0 <= place < len(choices) for place in places)
    return [int(place) for place in places] if inside else []


def _null_in(write: Callable[[Any], Any], document: dict[str, Any]) -> str | None:
    """The column with a missing value that `write` shows as the word None."""
    shown = str(write(document)).count("None")
    for column, value in document.items() if shown else ():
        if str(write({**document, column: _filled(value)})).count("None") < shown:
            return column
    return None


def _filled(value: Any) -> Any:
    """The value, in which empty texts stand for what is missing."""
    if isinstance(value, list):
        return [_filled(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _filled(inner) for key, inner in value.items()}
    return "" if value is None else value


@contextmanager
def _templates_compiled_once() -> Iterator[None]:
    """lm-eval compiles a template anew for every document: two milliseconds, half a minute for MMLU."""
    environment = lm_eval.utils.env
    environment.from_string = cache(environment.from_string)
    try:
        yield
    finally:
        del environment.from_string
