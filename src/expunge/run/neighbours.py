"""Neighbours: questions that begin like those to forget, and are about something else (`data.neighbours`).

A forget set of one form takes other knowledge of that form with it: with the capitals of thirty countries that of a
thirty-first, which nobody named. What tells them apart has to be kept beside the retain set. So the original model
finishes the beginnings of the forget questions, at a low temperature, for the questions are to make sense, and answers
them greedily, with what it takes to be true. Screened against the forget set, they are trained on as retain samples
are; the utility is measured without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from random import Random
from typing import Any

from ..data.encoding import Encoder
from ..data.sample_set import SampleSet
from ..data.samples import Conversation, QuestionAnswer, Sample
from ..data.screening import NAMES, REPEATS, Screen, told_words, words
from ..data.settings import Data
from ..errors import Problem
from ..evaluation.generation import continuations
from ..methods import Method
from .surrogate import UNFINISHED, Candidate, Parts, Writer, kind_of, questions_written, texts_of

SOURCE = "neighbours (written by the original model)"
#: Neighbours by default: one for each forget sample, at most so many.
MOST = 100
#: Candidates at most for each neighbour that is wanted: where the model writes few that are fit, few it is.
DRAWS = 3
#: At 1 a small model writes questions that make no sense; the likeliest one alone would be the same again and again.
TEMPERATURE = 0.6
#: Tokens that a question may have after its beginning, and an answer at least may have; else as the longest of those
#: to forget.
QUESTION_TOKENS, ANSWER_TOKENS = 24, 48


def keeps_neighbours(method: Method) -> bool:
    """Whether the method trains on retain samples, and the original's own answers are fit for that: a model that is to
    be made without it must not learn from it."""
    return method.needs_retain and method.starts_from_original


def neighbours_problems(data: Data, format: str, method: Method) -> list[Problem]:
    """Why no neighbours can be had that the recipe asks for."""
    wanted = getattr(data, "neighbours", 0)
    if wanted in ("auto", 0):
        return []
    place, remedy = f"data.neighbours: {wanted}", "Leave it out."
    if format == "text":
        return [Problem(place, "they are questions, and what is to be forgotten are texts.", remedy)]
    if not keeps_neighbours(method):
        reason = (
            "no retain samples are trained on"
            if not method.needs_retain
            else "training does not start from the original"
        )
        return [Problem(place, f"they are kept beside the retain set, and {reason}.", remedy)]
    return []


def neighbours(
    encoder: Encoder,
    forget: SampleSet,
    others: Sequence[SampleSet | None],
    wanted: int,
    longest: int,
    seed: int,
) -> Writer:
    """The writer of questions like those to forget.

    others:  sets whose questions are not to be written again: what is kept already, what no one ever saw
    longest: tokens of the longest answer that is to be forgotten
    """
    asked = [_question(sample) for sample in forget.samples]
    taken = {tuple(words(question)) for question in asked}
    taken |= {tuple(words(_question(sample))) for other in others if other for sample in other.samples}
    screen = Screen(text for sample in forget.samples for text in texts_of(sample, encoder))
    told = told_words(asked, (answer for sample in forget.samples for answer in _answers(sample)))

    def objection(number: int, parts: Parts) -> str | None:
        question, answer = parts
        if tuple(words(question)) in taken:
            return REPEATS
        continued = question.removeprefix(beginning(asked, number, seed))
        return screen.objection([continued, answer]) or (NAMES if told.intersection(words(answer)) else None)

    return Writer(
        title="Neighbours",
        source=SOURCE,
        kind=kind_of(forget.samples[0]),
        wanted=wanted,
        write=partial(_written, asked, max(longest, ANSWER_TOKENS)),
        objection=objection,
        content=lambda parts: (tuple(words(parts[0])),),
        draws=DRAWS,
        least=0.0,
        facts=[
            "neighbours", sorted(taken), longest, DRAWS, TEMPERATURE, QUESTION_TOKENS, ANSWER_TOKENS,
        ],
    )  # fmt: skip


def beginning(questions: Sequence[str], number: int, seed: int) -> str:
    """The beginning of the question whose turn it is: at least its first two words, and not the last one; of a question
    without so many spaces, characters."""
    question = questions[number % len(questions)].strip()
    parts, space = question.split(" "), " "
    if len(parts) < 3:
        parts, space = list(question), ""
    last = max(1, len(parts) - 1)
    return space.join(parts[: Random(f"{seed} {number}").randint(min(2, last), last)])


def _written(
    questions: Sequence[str], answer_tokens: int, model: Any, encoder: Encoder, numbers: range, seed: int
) -> Iterator[Candidate]:
    begun = [beginning(questions, number, seed) for number in numbers]
    seeds = [(seed, 2, number) for number in numbers]
    prompts = [encoder.question_begun(each) for each in begun]
    written = questions_written(model, encoder, prompts, seeds, QUESTION_TOKENS, TEMPERATURE)
    whole = [
        (first + rest).strip() if ended else None for first, (rest, ended) in zip(begun, written, strict=True)
    ]
    finished = list(dict.fromkeys(question for question in whole if question))
    answered = dict(
        zip(
            finished,
            continuations(
                model, encoder.tokenizer, [encoder.prompt(question) for question in finished], answer_tokens,
                description="Answering questions",
            ),
            strict=True,
        )
    )  # fmt: skip
    for question in whole:
        if not question:
            yield UNFINISHED
            continue
        ids, ended = answered[question]
        answer = encoder.tokenizer.decode(ids, skip_special_tokens=True).strip()
        yield (question, answer) if ended else UNFINISHED


def _question(sample: Sample) -> str:
    """The first question of a sample; empty of a text."""
    if isinstance(sample, QuestionAnswer):
        return sample.question
    turns = sample.turns if isinstance(sample, Conversation) else ()
    return next((content for role, content in turns if role == "user"), "")


def _answers(sample: Sample) -> list[str]:
    if isinstance(sample, QuestionAnswer):
        return [sample.answer]
    return [sample.turns[place][1] for place in sample.answers] if isinstance(sample, Conversation) else []
