"""The forget set and the retain set of a recipe, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import InputError, Problem
from ..recipe.data import AnyData, MuseData, OwnData, TdecData, TofuData
from ..storage import hash_rows
from .encoding import Encoder, Example
from .muse import TEXTS, read_split, split_label
from .rows import Unreachable, read_rows
from .samples import Sample, Text, recognise_format, to_samples
from .tdec import forget_set, retain_texts

#: What the forget set may share no sample with → what would come of it.
OVERLAPS = {
    "retain": "they would be forgotten and kept at once",
    "holdout": "it is for what the model never saw",
}


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
                                "Raise data.max_length (`expunge eval`: --max-length), or shorten the question.")
                    )  # fmt: skip
        if problems:
            raise InputError(problems[:10])
        return examples


@dataclass(frozen=True)
class UnlearningData:
    """What must go and what must stay. format: tofu, muse, tdec, or qa, chat or text, as recognised.

    retain:  None where there is none, or it is yet to be sampled from the model (`data.retain: self`)
    holdout: samples like those to forget that the model never saw
    """

    format: str
    forget: SampleSet
    retain: SampleSet | None
    holdout: SampleSet | None = None


def load_data(data: AnyData, retain_needed: bool) -> UnlearningData:
    """Read the sets.

    Raises `InputError` with every problem that can be found at once: missing files and columns, empty sets, rows
    without an answer, samples that are in both sets, no retain set where the objective needs one.
    """
    sources = _sources(data)
    if data.retains_itself:
        sources["retain"] = None
    problems: list[Problem] = []
    sets: dict[str, SampleSet] = {}
    kinds: dict[str, str] = {}
    for side, source in sources.items():
        if source is None:
            continue
        try:
            sets[side], kinds[side] = load_set(source, data, f"data.{side}")
        except InputError as error:
            problems += error.problems
            if isinstance(error, Unreachable) and isinstance(data, MuseData | TofuData):
                break  # the other sides are splits of the same data set
    if retain_needed and sources["retain"] is None and not data.retains_itself:
        problems.append(
            Problem("data.retain", "the retain loss needs a retain set and there is none.",
                    "Name one, or set it to self (samples of the model itself), or objective.retain to none.")
        )  # fmt: skip
    # MUSE's splits are what they are published as, be there an article in two of them.
    if not problems and not isinstance(data, MuseData):
        problems += overlaps(sets, "data.")
    if problems:
        raise InputError(list(dict.fromkeys(problems)))  # a folder that is missing is so for every set
    kind = kinds["forget"] if isinstance(data, OwnData) else data.format
    return UnlearningData(kind, sets["forget"], sets.get("retain"), sets.get("holdout"))


def _sources(data: AnyData) -> dict[str, str | None]:
    if isinstance(data, OwnData):
        return {"forget": data.forget, "retain": data.retain, "holdout": data.holdout}
    if isinstance(data, TdecData):
        return {"forget": data.path, "retain": data.retain}
    if isinstance(data, MuseData):
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


def load_set(source: str, data: AnyData, key: str) -> tuple[SampleSet, str]:
    """One set and its format. source: a file, a folder or `hub/id:split`; of MUSE a split.

    Raises `InputError`, naming `key` or the rows, for what cannot be read.
    """
    if isinstance(data, TdecData):
        return _load_tdec(source, data, key), data.format
    if isinstance(data, MuseData):
        texts = [Text(row["text"]) for row in read_split(data.path, source, TEXTS)]
        return SampleSet(split_label(data.path, source), texts), "text"
    columns = data if isinstance(data, OwnData) else OwnData(format="qa", forget=source)
    rows = read_rows(source, key)
    kind = recognise_format(rows, columns, source, key) if rows else "text"
    samples = to_samples(rows, kind, columns, source)
    if not samples:
        raise InputError(Problem(key, f"{source!r} holds no samples.", "Give at least one."))
    return SampleSet(source, samples), kind


def _load_tdec(source: str, data: TdecData, key: str) -> SampleSet:
    if key == "data.retain":
        return SampleSet(source, retain_texts(source, key))
    return SampleSet(
        f"{source}: forget set {data.forget}", forget_set(source, data.forget, data.sequences, "data.path")
    )


def overlaps(sets: Mapping[str, SampleSet], prefix: str) -> list[Problem]:
    """A problem for each set that shares samples with the one to forget; `prefix` comes before its name."""
    return [
        problem
        for side in OVERLAPS
        if side in sets
        for problem in _overlap(sets["forget"], sets[side], side, prefix)
    ]


def _overlap(forget: SampleSet, other: SampleSet, side: str, prefix: str) -> list[Problem]:
    kept = {repr(sample): number for number, sample in enumerate(other.samples, start=1)}
    shared = [
        (number, kept[repr(sample)])
        for number, sample in enumerate(forget.samples, start=1)
        if repr(sample) in kept
    ]
    if not shared:
        return []
    first, second = shared[0]
    return [
        Problem(f"{prefix}{side}",
                f"{len(shared)} of the forget samples are in the {side} set as well, first row {first} of "
                f"{forget.source!r} as row {second} of {other.source!r}.",
                f"Take them out of the {side} set: {OVERLAPS[side]}.")
    ]  # fmt: skip
