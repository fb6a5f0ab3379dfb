"""MUSE, News and Books: what is left of texts that a model was to forget, word for word, as facts, as a trace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ...data.encoding import Encoder, Example
from ...errors import InputError, Problem
from ...evaluation.generation import greedy_continuations
from ...evaluation.likelihood import AnswerLoss, TokenStatistics, answer_losses
from ...evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from ...evaluation.membership import membership_scores
from ...evaluation.metric import Metric
from ...models.answers import IGNORED
from ...models.window import window_of
from ..benchmark import Benchmark
from .material import SPLITS, load_material
from .metrics import CONTINUED, METRIC_VERSION, muse_metrics

#: New tokens of a greedy continuation, by set: the authors'. A passage's truth is cut to as many.
NEW_TOKENS = {"forget_verbatim": 128, "forget_knowledge": 32, "retain_knowledge": 32}
TEXT_SETS = ("forget_texts", "holdout_texts")
#: Tokens that a model can see where its configuration does not say.
WINDOW = 2048


class MuseBenchmark(Benchmark):
    """Verbatim and knowledge memorisation and privacy leakage (see `muse_metrics`).

    path:    a folder with MUSE's files or a data set on the hub
    samples: at most this many of a set, None for all

    A prompt longer than the model's window loses its beginning; a text longer than that is measured in chunks whose
    tokens are scored together. Labels are the tokens of the true continuation or text; EOS is none of them.
    Of a generated answer the first line that is not blank counts, where the authors go up to a blank line.
    Raises InputError for splits that are missing or broken.
    """

    name = "muse"
    metric_version = METRIC_VERSION
    compared = TEXT_SETS

    def __init__(self, path: str, samples: int | None = None):
        self.material = load_material(path, samples)
        self.data = {"path": path, "hash": self.material.hash, "names": SPLITS}

    def measure(self, model: Any, encoder: Encoder) -> EvaluationLog:
        window = window_of(model.config, otherwise=WINDOW)
        sets = {name: self._continued(model, encoder, name, window) for name in CONTINUED}
        for name in TEXT_SETS:
            sets[name] = _texts(
                model, replace(encoder, max_length=window), name, getattr(self.material, name)
            )
        return self.log_of(sets, encoder)

    def generate(self, model: Any, encoder: Encoder, log: EvaluationLog) -> EvaluationLog:
        window = window_of(model.config, otherwise=WINDOW)
        sets = dict(log.sets)
        for name, length in NEW_TOKENS.items():
            prompts = [
                encoder.opening(item.prompt)[-max(1, window - length) :]
                for item in getattr(self.material, name)
            ]
            texts = greedy_continuations(
                model, encoder.tokenizer, prompts, length, description=f"Generating {name}"
            )
            texts = texts if name == "forget_verbatim" else [_first_line(text) for text in texts]
            sets[name] = [
                replace(record, generation=text) for record, text in zip(log.sets[name], texts, strict=True)
            ]
        return replace(log, sets=sets, generated=True)

    def metrics(self, log: EvaluationLog, reference: EvaluationLog | None) -> dict[str, Metric]:
        return muse_metrics(log, reference)

    def forget_score(self, metrics: Mapping[str, Metric]) -> float:
        """1 − the mean of the verbatim and the knowledge memorisation of the forget set.

        Without generations, 1 − the mean probability of the true continuations and answers.
        """
        kind = "memorization" if "forget_verbatim_memorization" in metrics else "probability"
        return (
            1.0 - (metrics[f"forget_verbatim_{kind}"].value + metrics[f"forget_knowledge_{kind}"].value) / 2
        )

    def _continued(self, model: Any, encoder: Encoder, name: str, window: int) -> list[QuestionRecord]:
        """Records of the true continuations, `NEW_TOKENS` of a passage, all of an answer."""
        items = getattr(self.material, name)
        examples = [encoder.continuation(item.prompt, item.truth) for item in items]
        truths = [item.truth for item in items]
        if name == "forget_verbatim":
            examples = [_first_labels(example, NEW_TOKENS[name]) for example in examples]
            truths = [
                encoder.tokenizer.decode(_labels(example), skip_special_tokens=True) for example in examples
            ]
        cut = [Example(example.input_ids[-window:], example.labels[-window:]) for example in examples]
        losses = answer_losses(model, cut, encoder.pad_token_id, description=f"Evaluating {name}")
        return [
            QuestionRecord(
                index,
                Likelihood(loss.loss, loss.tokens),
                truth=truth,
                correct=loss.correct,
                strength=loss.strength,
            )
            for index, (loss, truth) in enumerate(zip(losses, truths, strict=True))
        ]


def _texts(model: Any, encoder: Encoder, name: str, texts: Sequence[str]) -> list[QuestionRecord]:
    """Records of whole texts with the scores of membership inference."""
    chunks = [encoder.text(text) for text in texts]
    problems = [
        Problem(
            f"{SPLITS[name]}, row {row}", "it is one token, which nothing predicts.", "Give longer texts."
        )
        for row, group in enumerate(chunks, start=1)
        if not group
    ]
    if problems:
        raise InputError(problems)
    flat = [chunk for group in chunks for chunk in group]
    measured = iter(
        answer_losses(
            model, flat, encoder.pad_token_id, description=f"Evaluating {name}", token_statistics=True
        )
    )
    return [
        _text_record(index, text, [next(measured) for _ in group])
        for index, (text, group) in enumerate(zip(texts, chunks, strict=True))
    ]


def _text_record(index: int, text: str, chunks: Sequence[AnswerLoss]) -> QuestionRecord:
    known = [chunk.statistics for chunk in chunks if chunk.statistics is not None]
    statistics = TokenStatistics(
        np.concatenate([part.log_probability for part in known]),
        np.concatenate([part.standardised for part in known]),
    )
    return QuestionRecord(
        index,
        Likelihood(sum(chunk.loss for chunk in chunks), sum(chunk.tokens for chunk in chunks)),
        correct=sum(chunk.correct for chunk in chunks),
        scores=membership_scores(statistics, text),
    )


def _labels(example: Example) -> list[int]:
    return [label for label in example.labels if label != IGNORED]


def _first_labels(example: Example, count: int) -> Example:
    """The example, ended after its first `count` labels."""
    end = len(example) - len(_labels(example)) + count
    return Example(example.input_ids[:end], example.labels[:end])


def _first_line(text: str) -> str:
    """An answer ends with its first line of text; what comes next is a question that the model asks itself.

    MUSE is to stop at a newline. To the letter an answer that begins on a new line would be empty, and a model that
    knows it would count as one that has forgotten: such lines are skipped, which can only show more memory. The
    authors' own code stops at a blank line or the next `Question`: it reads the same of "\\nAda", nothing of
    "\\n\\nAda", and two lines where a model writes two.
    """
    return text.lstrip().split("\n", 1)[0]
