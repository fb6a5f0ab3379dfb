"""Samples that the original model writes before it changes, to be kept while it forgets: drawn, screened, and stored.

They are kept under a hash of everything that they depend on, and a run with the same hash takes them over. Who writes
what: `expunge.run.surrogate`, `expunge.run.neighbours`.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.columns import Columns
from ..data.encoding import Encoder
from ..data.rows import read_rows
from ..data.sample_set import SampleSet
from ..data.samples import Conversation, QuestionAnswer, Sample, Text, to_samples
from ..data.screening import words
from ..errors import InputError, Problem
from ..evaluation.sampling import sampled_continuations
from ..intact import broken, check_file, read_object
from ..models.processes import gathered, processes
from ..progress import say
from ..recipe.schema import Recipe
from ..storage import atomic_folder, hash_rows, write_json, write_json_lines
from .meter import CostMeter

EMPTY, UNFINISHED, DUPLICATE = "empty", "unfinished", "duplicate"

#: A question and its answer, or a text; its words; what is drawn: the parts of a sample, or why there is none.
Parts = tuple[str, ...]
Content = tuple[tuple[str, ...], ...]
Candidate = Parts | str


@dataclass(frozen=True)
class Sampled:
    """The samples that passed, and what `run.json` says about them.

    facts: how many were drawn, how many rejected for which reason, where they are kept, whether they were there
    phase: what the sampling cost, as of a phase; None where they were there
    """

    samples: SampleSet
    facts: dict[str, Any]
    phase: dict[str, Any] | None


@dataclass(frozen=True)
class Writer:
    """How candidates are drawn from the original model, number by number, and which of them are fit.

    title:  what they are for, as the user reads it; source: what the samples are called in `run.json`
    kind:   qa, chat or text; wanted: how many are to be kept
    draws:  candidates at most for each one wanted; least: the share of those wanted without which there is none
    write:  (model, encoder, numbers, seed) → a candidate of every number, the same however many are drawn at once
    objection: (number, parts) → why a sample is not fit; None where it is
    content: what two samples may not share
    facts:  what the candidates depend on, beside the model, the encoder, the seed, and what is forgotten
    """

    title: str
    source: str
    kind: str
    wanted: int
    write: Callable[[Any, Encoder, range, int], Iterator[Candidate]]
    objection: Callable[[int, Parts], str | None]
    content: Callable[[Parts], Content]
    draws: int
    least: float
    facts: Sequence[Any]


def take_or_sample(
    writer: Writer,
    model: Any,
    fingerprint: str,
    encoder: Encoder,
    forget: SampleSet,
    recipe: Recipe,
    meter: CostMeter,
) -> Sampled:
    """The samples from the store where they are there, and say so; else drawn from `model`, and stored.

    Raises `InputError` where too little of what the model writes is fit.
    """
    facts = [
        fingerprint, recipe.model.dtype, recipe.model.quantization, forget.describe()["hash"], writer.kind,
        writer.wanted, repr(encoder.template), encoder.question_opening, encoder.question_closing, encoder.max_length,
        recipe.seed, *writer.facts,
    ]  # fmt: skip
    folder = Path(recipe.data.self_folder) / hash_rows(facts)[:32]
    process = processes().process_index
    if all(gathered({process: folder.is_dir()}).values()):  # all processes sample, or none
        say(f"{writer.title}: {folder}, sampled before with the same model, forget set and settings")
        return read_written(folder, writer)
    say(f"{writer.title}: sampling {writer.wanted} from the model itself")
    with meter.phase() as cost:
        kept, rejected = _sample(writer, model, encoder, recipe.seed)
    drawn = len(kept) + rejected.total()
    record = {"samples": len(kept), "drawn": drawn, "rejected": dict(sorted(rejected.items()))}
    counts = ", ".join(f"{number} {reason}" for reason, number in sorted(rejected.items())) or "none"
    say(f"  {len(kept)} of {drawn} kept; rejected: {counts}")
    if writer.least and len(kept) < max(2, writer.least * writer.wanted):
        raise InputError(
            Problem("data.retain", f"of {drawn} samples of the model itself {len(kept)} are fit for a retain set "
                    f"(rejected: {counts}).", "Give a retain set of your own.")
        )  # fmt: skip
    rows = [_row(writer.kind, parts) for parts in kept]
    if processes().is_main_process:
        # Under a name of its own: another run may be drawing the same samples.
        own = folder.with_name(f"{folder.name}-{os.getpid()}")
        with atomic_folder(own) as partial:
            write_json_lines(partial / "samples.jsonl", rows, private=True)
            write_json(partial / "surrogate.json", record)
        try:
            os.replace(own, folder)
        except OSError:
            if not folder.is_dir():
                raise
            shutil.rmtree(own)
    phase = {"state": "done", "attempts": 1, **cost}
    return Sampled(_sample_set(writer, rows), {**record, "folder": str(folder), "reused": False}, phase)


def read_written(folder: Path, writer: Writer) -> Sampled:
    """What was stored in `folder`. Raises `InputError` where it is damaged, or not there."""
    samples, remedy = folder / "samples.jsonl", f"Delete {folder}: the same samples will be drawn again."
    keys = ("samples", "drawn", "rejected")
    record = read_object(folder / "surrogate.json", "the record of a retain set", keys, remedy)
    check_file(samples, remedy)
    rows = read_rows(str(samples), "data.retain") if record["samples"] else []
    if len(rows) != record["samples"]:
        raise broken(samples, f"it holds {len(rows)} samples, not {record['samples']}", remedy)
    return Sampled(_sample_set(writer, rows), {**record, "folder": str(folder), "reused": True}, None)


def _sample(writer: Writer, model: Any, encoder: Encoder, seed: int) -> tuple[list[Parts], Counter[str]]:
    """The first samples that are fit, and why the others before the last of them were not.

    Sample n is the same however many are drawn at once.
    """
    kept: dict[Content, Parts] = {}
    rejected: Counter[str] = Counter()
    number, wanted, most = 0, writer.wanted, writer.draws * writer.wanted
    while len(kept) < wanted and number < most:
        missing = wanted - len(kept)
        block = range(number, min(most, number + missing + missing // 4 + 8))
        for candidate in writer.write(model, encoder, block, seed):
            number += 1
            if isinstance(candidate, str):
                rejected[candidate] += 1
                continue
            content = writer.content(candidate)
            reason = (
                EMPTY
                if not all(words(part) for part in candidate)
                else DUPLICATE
                if content in kept
                else writer.objection(number - 1, candidate)
            )
            if reason:
                rejected[reason] += 1
                continue
            kept[content] = candidate
            if len(kept) == wanted:
                break
    return list(kept.values()), rejected


def questions_written(
    model: Any,
    encoder: Encoder,
    prompts: Sequence[Sequence[int]],
    seeds: Sequence[Sequence[int]],
    most: int,
    temperature: float = 1.0,
) -> list[tuple[str, bool]]:
    """The questions that the model writes on from the prompts, and whether they came to an end.

    prompts: the template's beginning, with or without that of a question, which is part of what is returned
    most:    tokens that are written
    """
    tokenizer, closing = encoder.tokenizer, encoder.question_closing
    first = tokenizer(closing, add_special_tokens=False)["input_ids"][:1]
    written = sampled_continuations(
        model,
        tokenizer,
        prompts,
        seeds,
        [most] * len(prompts),
        description="Sampling questions",
        stops=[token for token in first if token in tokenizer.all_special_ids],
        temperature=temperature,
    )
    # As one text: some tokenizers' decoders take the space off the first word.
    opening = tokenizer.decode(encoder.question_opening, skip_special_tokens=True)
    questions = []
    for prompt, (ids, ended) in zip(prompts, written, strict=True):
        text = tokenizer.decode([*prompt, *ids], skip_special_tokens=True).removeprefix(opening)
        question, closed, _ = text.partition(closing) if closing else (text, "", "")
        questions.append((question.strip(), ended or bool(closed)))
    return questions


def kind_of(sample: Sample) -> str:
    """`qa`, `chat` or `text`: the samples are of the forget set's kind."""
    return {QuestionAnswer: "qa", Conversation: "chat"}.get(type(sample), "text")


def texts_of(sample: Sample, encoder: Encoder) -> list[str]:
    """What is screened: each text of a forget sample by itself."""
    if isinstance(sample, QuestionAnswer):
        return [sample.question, sample.answer]
    if isinstance(sample, Conversation):
        return [content for _, content in sample.turns]
    if isinstance(sample, Text):
        return [sample.text]
    decode = encoder.tokenizer.decode
    return [decode(example.input_ids, skip_special_tokens=True) for example in sample.encode(encoder)]


def _row(kind: str, parts: Sequence[str]) -> dict[str, Any]:
    """As in a file of the user's own: `samples.jsonl` can be named as a retain set."""
    if kind == "text":
        return {"text": parts[0]}
    if kind == "qa":
        return {"question": parts[0], "answer": parts[1]}
    roles = ("user", "assistant")
    return {"messages": [{"role": role, "content": part} for role, part in zip(roles, parts, strict=True)]}


def _sample_set(writer: Writer, rows: Sequence[dict[str, Any]]) -> SampleSet:
    return SampleSet(
        writer.source, to_samples(rows, Columns(format=writer.kind), writer.source) if rows else []
    )
