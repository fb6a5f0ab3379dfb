"""What has to be the same when something that was begun is gone on with: a run, several requests, a finetuning."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem
from ..models.comparison import difference

#: Keys of a record, dotted, that have to agree. A record of before a key was added does not hold it, and agrees.
INPUTS = (
    "model.tokenizer",
    "data.encoded.forget",
    "data.encoded.retain",
    "data.encoded.substitutes",
    "benchmark.metric_version",
    "benchmark.hash",
    "thresholds",
    "given_logs",
)
RUN = ("model.fingerprint", "model.dtype", "data.forget", "data.retain", *INPUTS)
#: The model that training starts from, where it is not the one that is to forget.
START = ("start.fingerprint",)
#: Of several requests; `INPUTS` too have to agree, of every request by itself.
REQUESTS = ("data.format", "data.forget", "data.retain")
FINETUNING = (
    "on",
    "model.path",
    "model.revision",
    "model.fingerprint",
    "model.tokenizer",
    "data.format",
    "data.template",
    "data.max_length",
    "data.forget",
    "data.retain",
    "data.encoded",
    "training",
    "adapter",
    "seed",
)

#: Where a folder lies and what a run is called change nothing of the result.
NAMES = ("name", "output")
#: Of a single run the model's fingerprint, which is compared, tells of another adapter beneath it.
MODEL_BENEATH = ("model.adapters",)

#: File of the record, what it says, the keys that have to agree, what they were, what they are now.
Compared = tuple[Path, str, Iterable[str], Mapping[str, Any], Mapping[str, Any]]

_ABSENT = object()


def check_agreement(*compared: Compared) -> None:
    """Raise `InputError` that names the keys in which what is asked for now differs from what was begun."""
    problems = []
    for file, what, keys, then, now in compared:
        differing = [key for key in keys if not _agree(key, _value(then, key), _value(now, key))]
        if differing:
            problems.append(
                Problem(str(file), f"{what} has changed in: {', '.join(differing)}.",
                        "Resume with what it was started with, or choose another --output.")
            )  # fmt: skip
    if problems:
        raise InputError(problems)


def recipe_facts(recipe: Mapping[str, Any], but: Iterable[str] = ()) -> dict[str, Any]:
    """What of a resolved recipe has to agree. but: further dotted keys that need not"""
    facts = {key: value for key, value in recipe.items() if key not in NAMES}
    for dotted in but:
        section, _, key = dotted.partition(".")
        facts[section] = {inner: value for inner, value in facts[section].items() if inner != key}
    return facts


def _agree(key: str, then: Any, now: Any) -> bool:
    if then is _ABSENT:
        return True
    if key.endswith("fingerprint") and isinstance(then, str):
        return difference(then, now) is None  # one of version 0.1.0 says the same in other words
    return bool(then == now)


def _value(content: Any, key: str) -> Any:
    for part in key.split("."):
        if not isinstance(content, Mapping) or part not in content:
            return _ABSENT
        content = content[part]
    return content
