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

from ..data.encoding import Encoder, Example
from ..data.samples import Conversation, QuestionAnswer, Sample
from ..data.screening import NAMES, REPEATS, WORDS, Named, Screen, words
from ..data.sets import UnlearningData
from ..data.settings import Data
from ..errors import InputError, Problem
from ..evaluation.generation import continuations
from ..methods import Method
from .written import EMPTY, UNFINISHED, Candidate, Parts, Writer, kind_of, questions_written, texts_of

SOURCE = "neighbours (written by the original model)"
#: Candidates at most for each neighbour that is wanted: where the model writes few that are fit, few it is.
DRAWS = 3
#: At 1 a small model writes questions that make no sense; the likeliest one alone would be the same again and again.
TEMPERATURE = 0.6
#: Tokens that a question may have after its beginning, and an answer at least may have; else as the longest of those
#: to forget.
QUESTION_TOKENS, ANSWER_TOKENS = 24, 48
#: A beginning has two words at least; of a text without so many spaces, so many characters.
FEWEST_WORDS, FEWEST_CHARACTERS = 2, 4
#: Part of what tells stored neighbours from others: raised with every change of what is drawn and what is fit.
RULES = 2
#: Of the retain samples that are trained on, neighbours are at least about one in so many: they are repeated.
ONE_IN = 4


def neighbours_problems(data: Data, format: str, method: Method) -> list[Problem]:
    """Why no neighbours can be had that the recipe asks for."""
    wanted = getattr(data, "neighbours", 0)
    if not wanted:
        return []
    place, remedy = f"data.neighbours: {wanted}", "Leave it out."
    if format == "text":
        return [Problem(place, "they are questions, and what is to be forgotten are texts.", remedy)]
    if method.needs_retain and method.starts_from_original:
        return []
    # A model that is to be made without the original must not learn from its answers.
    reason = "does not start from the original" if method.needs_retain else "has no use for retain samples"
    return [
        Problem(place, f"they are answers of the original to be kept, and the training {reason}.", remedy)
    ]


def neighbour_writer(
    encoder: Encoder, data: UnlearningData, wanted: int, longest: int, window: int, seed: int
) -> Writer:
    """The writer of questions like those to forget.

    longest: tokens of the longest answer that is to be forgotten
    window:  tokens that the model can see
    """
    asked = [question for sample in data.forget.samples if (question := _question(sample))]
    others = [each for each in (data.retain, data.holdout) if each]
    taken = {
        tuple(words(question))
        for each in (data.forget, *others)
        for sample in each.samples
        for question, _ in _exchanges(sample)
    }
    kept = (
        [text for sample in data.retain.samples for text in texts_of(sample, encoder)] if data.retain else []
    )
    pairs = [pair for sample in data.forget.samples for pair in _exchanges(sample)]
    keywords = [keyword for sample in data.forget.samples for keyword in getattr(sample, "keywords", ())]
    named = Named(pairs, kept, keywords)
    screen = Screen(text for sample in data.forget.samples for text in texts_of(sample, encoder))
    begun = Beginnings(asked, named, seed)

    def objection(number: int, parts: Parts) -> str | None:
        question, answer = parts
        continued = question.removeprefix(begun[number])
        if tuple(words(question)) in taken:
            return REPEATS
        if not words(continued):
            return EMPTY
        if named.objects(f"{question} {answer}"):
            return NAMES
        # The beginning is of the forget set's own words, and is not what tells.
        return screen.objection([continued, answer])

    return Writer(
        title="Neighbours",
        source=SOURCE,
        kind=kind_of(data.forget.samples[0]),
        wanted=wanted if len(begun) else 0,
        write=partial(_written, begun, max(longest, ANSWER_TOKENS), window),
        objection=objection,
        content=lambda parts: (tuple(words(parts[0])),),
        draws=DRAWS,
        least=0.0,
        facts=[
            "neighbours", RULES, longest, window, WORDS, DRAWS, TEMPERATURE, QUESTION_TOKENS, ANSWER_TOKENS,
            *(each.describe()["hash"] for each in others),
        ],
    )  # fmt: skip


def repeated(neighbours: list[Example], beside: int) -> list[Example]:
    """The neighbours so often that they are about one in `ONE_IN` beside so many other retain samples."""
    if not neighbours:
        return []
    return neighbours * max(1, round(beside / ((ONE_IN - 1) * len(neighbours))))


class Beginnings:
    """What questions begin with, one after another in an order that the seed fixes: at least half of the words, or all
    before the first that names something, and never the last. Of a question of one or two words characters count.

    Questions that have no such beginning are left out.
    """

    def __init__(self, questions: Sequence[str], named: Named, seed: int):
        self._seed = seed
        self._begun: list[tuple[list[str], str, int]] = []
        for question in dict.fromkeys(each.strip() for each in questions):
            parts, space, fewest = question.split(" "), " ", FEWEST_WORDS
            if len(parts) <= fewest:
                parts, space, fewest = list(question), "", FEWEST_CHARACTERS
            longest = min(named.first_in(parts), len(parts) - 1)
            if not space and " " in question:
                longest = min(
                    longest, len(" ".join(question.split(" ")[: named.first_in(question.split(" "))]))
                )
            if longest >= fewest:
                self._begun.append((parts, space, longest))
        Random(seed).shuffle(self._begun)

    def __len__(self) -> int:
        return len(self._begun)

    def __getitem__(self, number: int) -> str:
        parts, space, longest = self._begun[number % len(self._begun)]
        shortest = min((len(parts) + 1) // 2, longest)
        return space.join(parts[: Random(f"{self._seed} {number}").randint(shortest, longest)])


def _written(
    begun: Beginnings,
    answer_tokens: int,
    window: int,
    model: Any,
    encoder: Encoder,
    numbers: range,
    seed: int,
) -> Iterator[Candidate]:
    prompts = [encoder.question_begun(begun[number]) for number in numbers]
    seeds = [(seed, 2, number) for number in numbers]
    written = questions_written(model, encoder, prompts, seeds, QUESTION_TOKENS, TEMPERATURE)
    asked = {question: _prompt(encoder, question) for question, ended in written if ended and question}
    answered = {question: prompt for question, prompt in asked.items() if prompt}
    continued = continuations(
        model, encoder.tokenizer, list(answered.values()), answer_tokens, description="Answering questions"
    )
    answers = dict(zip(answered, continued, strict=True))
    for question, _ in written:
        ids, ended = answers.get(question, ([], False))
        answer = encoder.tokenizer.decode(ids, skip_special_tokens=True).strip()
        yield (question, answer) if ended and _fits(encoder, question, answer, window) else UNFINISHED


def _prompt(encoder: Encoder, question: str) -> list[int] | None:
    """The tokens before an answer; None where the template cannot write the question."""
    try:
        prompt = encoder.prompt(question)
    except InputError:
        return None
    return prompt if len(prompt) < encoder.max_length else None


def _fits(encoder: Encoder, question: str, answer: str, window: int) -> bool:
    """Whether a run can train on it: the template writes it whole, and the model sees all of it."""
    try:
        example = encoder.answer(question, answer)
    except InputError:
        return False
    return not example.cut and len(example) <= window


def _question(sample: Sample) -> str | None:
    """The question that a sample begins with; None of a text, and where something else comes before it."""
    if isinstance(sample, QuestionAnswer):
        return sample.question
    if not isinstance(sample, Conversation) or sample.tools:
        return None
    roles = [role for role, _ in sample.turns[:2]]
    return sample.turns[0][1] if roles == ["user", "assistant"] else None


def _exchanges(sample: Sample) -> list[tuple[str, str]]:
    """Every question with its answer; what a conversation says besides, as answers without a question."""
    if isinstance(sample, QuestionAnswer):
        return [(sample.question, sample.answer)]
    exchanges, asked = [], ""
    for role, content in sample.turns if isinstance(sample, Conversation) else ():
        if role == "user":
            if asked:
                exchanges.append(("", asked))
            asked = content
        else:
            exchanges.append((asked, content))
            asked = ""
    return exchanges
