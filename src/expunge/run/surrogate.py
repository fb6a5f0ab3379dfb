"""A retain set from the model itself, for whoever has only what must go (`data.retain: self`).

The original model writes samples before it changes: questions with their answers after the template's beginning, or
texts after BOS (questions as in Magpie, Xu et al. 2024, arXiv:2406.08464). They are drawn at temperature 1 from the
whole distribution: then the retain loss nll is, in expectation, KL(p_original ‖ p_θ) plus a constant, whose minimum is
the unchanged model. A nucleus or a lower temperature would teach the model to be surer than it was.

What the model knows of the forget set it may write here as well. A screen (`expunge.data.screening`) takes that out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..data.encoding import Encoder
from ..data.sample_set import SampleSet
from ..data.screening import WORDS, Screen, words
from ..data.settings import Data
from ..evaluation.sampling import sampled_continuations
from .written import EMPTY, UNFINISHED, Candidate, Writer, kind_of, questions_written, texts_of

#: What the retain set is called in `run.json`.
SOURCE = "self (sampled from the original model)"
#: Samples by default: at least, and for each forget example.
FEWEST, FOR_EACH = 200, 4
#: At most so many samples are drawn for each one wanted; at least this share of those wanted has to pass.
DRAWS, LEAST_SHARE = 5, 0.1
#: The share of `data.max_length` that a question may take.
QUESTION_SHARE = 4


def surrogate_size(data: Data, forget_examples: int) -> int:
    """How many samples the recipe asks for; `forget_examples` counts the chunks of long texts."""
    return data.self_samples or max(FEWEST, FOR_EACH * forget_examples)


def itself(encoder: Encoder, forget: SampleSet, forget_examples: int, data: Data) -> Writer:
    """The writer of a retain set of the forget set's kind."""
    kind = kind_of(forget.samples[0])
    screen = Screen(text for sample in forget.samples for text in texts_of(sample, encoder))
    return Writer(
        title="Retain set",
        source=SOURCE,
        kind=kind,
        wanted=surrogate_size(data, forget_examples),
        write=_texts if kind == "text" else _questions_with_answers,
        objection=lambda _number, parts: screen.objection(parts),
        content=lambda parts: tuple(tuple(words(part)) for part in parts),
        draws=DRAWS,
        least=LEAST_SHARE,
        facts=(WORDS, DRAWS, QUESTION_SHARE),
    )


def _texts(model: Any, encoder: Encoder, numbers: range, seed: int) -> Iterator[Candidate]:
    """One text a number, from BOS; where it reaches `max_length` it breaks off there, as the chunks of a text do."""
    written = sampled_continuations(
        model,
        encoder.tokenizer,
        [encoder.start] * len(numbers),
        [(seed, 0, number) for number in numbers],
        [encoder.max_length - 1] * len(numbers),
        description="Sampling texts",
    )
    for ids, _ in written:
        yield (encoder.tokenizer.decode(ids, skip_special_tokens=True).strip(),)


def _questions_with_answers(model: Any, encoder: Encoder, numbers: range, seed: int) -> Iterator[Candidate]:
    """One question a number, written after the template's beginning, and an answer to it."""
    tokenizer = encoder.tokenizer
    written = questions_written(
        model,
        encoder,
        [encoder.question_opening] * len(numbers),
        [(seed, 0, number) for number in numbers],
        encoder.max_length // QUESTION_SHARE,
    )
    questions, ends = [text for text, _ in written], [ended for _, ended in written]
    prompts = [encoder.prompt(question) for question in questions]
    answers = sampled_continuations(
        model,
        tokenizer,
        prompts,
        [(seed, 1, number) for number in numbers],
        [
            encoder.max_length - len(prompt) if question and end else 0
            for question, end, prompt in zip(questions, ends, prompts, strict=True)
        ],
        description="Sampling answers",
    )
    for question, end, (ids, ended) in zip(questions, ends, answers, strict=True):
        answer = tokenizer.decode(ids, skip_special_tokens=True).strip()
        yield (question, answer) if question and end and ended else UNFINISHED if question else EMPTY
