"""The forget set and the retain set of a recipe, read and checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem
from ..recipe.schema import OwnData, TofuData
from ..storage import hash_rows
from .encoding import Encoder, Example
from .rows import read_rows
from .samples import Sample, recognise_format, to_samples


@dataclass(frozen=True)
class SampleSet:
    """The samples of one side, and where they came from."""

    source: str
    samples: Sequence[Sample]

    def describe(self) -> dict[str, Any]:
        """What `run.json` records: the source, a hash of the content, the number of samples."""
        rows = [repr(sample) for sample in self.samples]
        return {"source": self.source, "hash": hash_rows(rows), "n": len(rows)}

    def encode(self, encoder: Encoder) -> list[Example]:
        """Every sample as examples. Raises `InputError` where an answer lies beyond `data.max_length`."""
        examples = []
        problems = []
        for number, sample in enumerate(self.samples, start=1):
            for example in sample.encode(encoder):
                if example.label_count:
                    examples.append(example)
                else:
                    problems.append(
                        Problem(f"{self.source}, row {number}",
                                f"its answer does not begin within {encoder.max_length} tokens.",
                                "Raise data.max_length or shorten what comes before the answer.")
                    )  # fmt: skip
        if problems:
            raise InputError(problems[:10])
        return examples


@dataclass(frozen=True)
class UnlearningData:
    """What must go and what must stay. format: tofu, qa, chat or text, as recognised."""

    format: str
    forget: SampleSet
    retain: SampleSet | None


def load_data(data: TofuData | OwnData, retain_needed: bool) -> UnlearningData:
    """Read both sets.

    Raises `InputError` with every problem that can be found at once: missing files and columns, empty sets, rows
    without an answer, samples that are in both sets, no retain set where the objective needs one.
    """
    sources = _sources(data)
    problems: list[Problem] = []
    sets: dict[str, SampleSet] = {}
    kinds: dict[str, str] = {}
    for side, source in sources.items():
        if source is None:
            continue
        try:
            sets[side], kinds[side] = _load_set(source, data, f"data.{side}")
        except InputError as error:
            problems += error.problems
    if retain_needed and sources["retain"] is None:
        problems.append(
            Problem("data.retain", "the retain loss needs a retain set and there is none.",
                    "Name one, or set objective.retain to none.")
        )  # fmt: skip
    if not problems and "retain" in sets:
        problems += _overlap(sets["forget"], sets["retain"])
    if problems:
        raise InputError(problems)
    kind = "tofu" if isinstance(data, TofuData) else kinds["forget"]
    return UnlearningData(kind, sets["forget"], sets.get("retain"))


def _sources(data: TofuData | OwnData) -> dict[str, str | None]:
    if isinstance(data, OwnData):
        return {"forget": data.forget, "retain": data.retain}
    splits = {"forget": data.forget, "retain": data.retain_split}
    folder = Path(data.path)
    if not folder.is_dir() and (data.path.count("/") != 1 or data.path.startswith((".", "~", "/"))):
        raise InputError(
            Problem("data.path", f"there is no folder {data.path!r}.",
                    "Name a folder with TOFU's files, or a hub data set such as locuslab/TOFU.")
        )  # fmt: skip
    if folder.is_dir():
        return {side: str(folder / f"{split}.json") if split else None for side, split in splits.items()}
    return {side: f"{data.path}:{split}:train" if split else None for side, split in splits.items()}


def _load_set(source: str, data: TofuData | OwnData, key: str) -> tuple[SampleSet, str]:
    columns = data if isinstance(data, OwnData) else OwnData(format="qa", forget=source)
    rows = read_rows(source, key)
    if not rows:
        raise InputError(Problem(key, f"{source!r} holds no samples.", "Give at least one."))
    kind = recognise_format(rows, columns, source, key)
    return SampleSet(source, to_samples(rows, kind, columns, source)), kind


def _overlap(forget: SampleSet, retain: SampleSet) -> list[Problem]:
    kept = {repr(sample): number for number, sample in enumerate(retain.samples, start=1)}
    shared = [
        (number, kept[repr(sample)])
        for number, sample in enumerate(forget.samples, start=1)
        if repr(sample) in kept
    ]
    if not shared:
        return []
    first, other = shared[0]
    return [
        Problem("data.retain",
                f"{len(shared)} of the forget samples are in the retain set as well, first row {first} of "
                f"{forget.source!r} as row {other} of {retain.source!r}.",
                "Take them out of the retain set: they would be forgotten and kept at once.")
    ]  # fmt: skip
