"""`expunge init`: a look at one's own model and files, and the recipe that follows from it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..adapters.loading import load_model
from ..benchmarks.memorization.benchmark import memorization_benchmark
from ..data.columns import Columns
from ..data.rows import read_rows
from ..data.sample_set import SampleSet
from ..data.samples import recognise
from ..data.settings import OwnData
from ..data.templates import ChatTemplate
from ..errors import InputError, Problem
from ..intact import check_writable
from ..models.loading import empty_model, load_config
from ..models.processes import device
from ..models.window import window_of
from ..recipe.loading import check_recipe
from ..storage import write_text
from .inputs import Inputs

#: Samples of a set whose answers are measured, at most.
LOOKED_AT = 16


@dataclass(frozen=True)
class Look:
    """What was seen: the model in words, every set in words by its side; too_few: see `Inputs.too_few_for_utility`."""

    model: str
    sets: Mapping[str, str]
    too_few: str | None = None

    @property
    def lines(self) -> list[str]:
        """A line for the model and one for every set; last, whether the retain set is too small for the utility."""
        return [
            f"Model: {self.model}.",
            *(f"{side.capitalize()}: {words}." for side, words in self.sets.items()),
            *([self.too_few] if self.too_few else []),
        ]


def look(content: Mapping[str, Any], knowledge: bool = True) -> Look:
    """Look at the model and the files of a recipe's content.

    knowledge: also measure how well the model knows the sets, which loads its weights

    Raises `InputError` with everything that a run would refuse before it loads the weights.
    """
    recipe = check_recipe("recipe", content)
    if not isinstance(recipe.data, OwnData):
        raise InputError(
            Problem("data.format", f"{recipe.data.format!r} is a benchmark's, and this is for files of one's own.",
                    "See `expunge recipes ls` for benchmarks.")
        )  # fmt: skip
    inputs = Inputs(recipe)
    sets = {"forget": inputs.data.forget, "retain": inputs.data.retain, "holdout": inputs.data.holdout}
    there = {side: samples for side, samples in sets.items() if samples is not None}
    described = {side: _set_in_words(recipe.data, side, samples) for side, samples in there.items()}
    for side, words in (_known(inputs, there) if knowledge else {}).items():
        described[side] += f"; {words}"
    if recipe.data.retains_itself:
        described["retain"] = (
            "none, so the model writes one itself before it changes; one of your own is better"
        )
    return Look(_model_in_words(inputs), described, inputs.too_few_for_utility())


def write_recipe(file: Path, content: Mapping[str, Any], seen: Look) -> None:
    """Write the recipe with what was seen as comments. Raises `InputError` where the file is there already."""
    refuse_existing(file)
    write_text(file, recipe_text(file, content, seen))


def refuse_existing(file: Path) -> None:
    """Raises `InputError` where there is something of that name, or no place for it."""
    if file.exists():
        raise InputError(
            Problem(str(file), "there is a file already.", "Choose another --output, or remove it.")
        )
    check_writable(file, "--output")


def recipe_text(file: Path, content: Mapping[str, Any], seen: Look) -> str:
    """The recipe as YAML, a comment beside what a reader should know."""
    seen_sets = "".join(f"  # {side}: {words}\n" for side, words in seen.sets.items())
    parts = [
        "# Written by `expunge init`. What is not named here has a default: `expunge validate` shows every value.\n"
        f"# Next: expunge validate {file}\n"
        f"#       expunge run {file}\n",
        _dump({"name": content["name"]}),
        f"# {seen.model}\n{_dump({'model': content['model']})}",
        f"data:\n{seen_sets}{_indented(_dump(content['data']))}",
    ]
    if "holdout" not in content["data"]:
        parts[-1] += (
            "  # holdout: FILE   like what must go, but the model never saw it: tells memory from guessing\n"
        )
    rest = {key: value for key, value in content.items() if key not in ("name", "model", "data")}
    if rest:
        parts.append(_dump(rest))
    if "evaluation" not in rest:
        parts.append(
            "# evaluation: {reference: MODEL}   one that never saw what must go, where there is one\n"
        )
    return "\n".join(parts)


def unrecognised_columns(source: str, key: str) -> list[str]:
    """The columns of a set of which none is known by its name; none where the format is recognised.

    Raises `InputError` for a source that cannot be read.
    """
    rows = read_rows(source, key)
    try:
        if rows:
            recognise(rows, Columns(), source, key)
    except InputError:
        return sorted(rows[0])
    return []


def _model_in_words(inputs: Inputs) -> str:
    model = inputs.recipe.model
    config = load_config(model)
    parameters = sum(parameter.numel() for parameter in empty_model(model).parameters())
    kept = str(config.dtype or "float32").removeprefix("torch.")
    chat = "a chat template" if isinstance(inputs.encoder.template, ChatTemplate) else "no chat template"
    window = window_of(config, otherwise=0)
    sees = f", a window of {window:,} tokens" if window else ""
    return f"{config.model_type}, {parameters:,} parameters in {kept}, {chat}{sees}; here it runs on {device().type}"


def _set_in_words(data: OwnData, side: str, samples: SampleSet) -> str:
    """Format, size, the columns that are read, and how many samples name keywords."""
    key = f"data.{side}"
    columns = recognise(read_rows(samples.source, key), data.columns_for(side), samples.source, key)
    read = {
        "qa": f"columns {columns.question_column} and {columns.answer_column}",
        "chat": f"column {columns.messages_column}",
        "text": f"column {columns.text_column}",
    }[columns.format]
    count = len(samples.samples)
    named = sum(bool(getattr(sample, "keywords", ())) for sample in samples.samples)
    keywords = f", keywords of {named:,}" if named else ""
    return f"{columns.format}, {count:,} sample{'s' * (count != 1)}, {read}{keywords}"


def _known(inputs: Inputs, sets: Mapping[str, SampleSet]) -> dict[str, str]:
    """Of every set the mean probability of its answers (of their tokens the geometric mean), in words."""
    benchmark = memorization_benchmark(sets, inputs.encoder, max_new_tokens=1, samples=LOOKED_AT)
    metrics = benchmark.metrics(benchmark.measure(load_model(inputs.recipe.model), inputs.encoder))
    found = {side: metrics[f"{side}_probability"] for side in sets}
    return {
        side: f"the model gives a token a mean probability of {metric.value:.2g} (1 is by heart; {metric.n} looked at)"
        for side, metric in found.items()
    }


def _dump(content: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True, width=sys.maxsize)


def _indented(text: str) -> str:
    return "".join(f"  {line}\n" for line in text.splitlines())
