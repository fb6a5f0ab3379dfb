"""The dialogue sets of TDEC (Jang et al. 2023; LoKU §4.1): unigram F1 of greedy replies.

Blended Skill Talk, Empathetic Dialogues, Wizard of Internet and Wizard of Wikipedia, or any others: every file of
the given folder is a set (see `files`).
"""

from __future__ import annotations

import math
import re
import string
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

from ...data.encoding import Encoder, Example
from ...evaluation.generation import greedy_continuations
from ...evaluation.likelihood import answer_losses
from ...evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from ...evaluation.metric import Metric, mean_of_means, mean_with_interval
from ...evaluation.set_metrics import perplexity
from ...models.window import window_of
from ...storage import hash_rows
from ..benchmark import Benchmark
from .files import NEXT_SPEAKER, Reply

#: Longest generated reply, in tokens, as Jang et al. generate it.
MAX_NEW_TOKENS = 32

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WITHOUT_PUNCTUATION = str.maketrans("", "", string.punctuation)


def unigram_f1(truth: str, generation: str) -> float:
    """Harmonic mean of precision and recall of the words that both have, in [0, 1]; 0 where they share none.

    Words are counted after the normalisation of Rajpurkar et al. (2016): lower case, without punctuation and articles.
    """
    true, said = (Counter(_words(text)) for text in (truth, generation))
    shared = (true & said).total()
    return 2 * shared / (true.total() + said.total()) if shared else 0.0


def _words(text: str) -> list[str]:
    return _ARTICLES.sub(" ", text.lower().translate(_WITHOUT_PUNCTUATION)).split()


class DialogueBenchmark(Benchmark):
    """`{set}_f1` and, where there are several sets, `dialogue_f1`: their mean, in which all sets count the same.

    A reply is what greedy decoding writes after the dialogue, at most `max_new_tokens`, up to the next speaker's line.
    `{set}_perplexity` is that of the person's reply. A dialogue longer than the model's window loses its beginning.

    sets:    name → replies
    samples: at most this many of a set, the first ones; None for all
    """

    name = "dialogue"
    metric_version = "1"

    def __init__(
        self,
        sets: Mapping[str, list[Reply]],
        path: str,
        max_new_tokens: int = MAX_NEW_TOKENS,
        samples: int | None = None,
    ):
        self.sets = {name: replies[:samples] for name, replies in sets.items()}
        self.max_new_tokens = max_new_tokens
        rows = (asdict(reply) for replies in self.sets.values() for reply in replies)
        self.data: dict[str, Any] = {"path": path, "hash": hash_rows(rows), "names": list(self.sets)}

    def settings(self, encoder: Encoder) -> dict[str, Any]:
        return {"max_new_tokens": self.max_new_tokens}

    def measure(self, model: Any, encoder: Encoder) -> EvaluationLog:
        window = window_of(model.config)
        sets = {}
        for name, replies in self.sets.items():
            examples = [
                _last(encoder.continuation(reply.context, f" {reply.response}"), window) for reply in replies
            ]
            losses = answer_losses(model, examples, encoder.pad_token_id, description=f"Evaluating {name}")
            sets[name] = [
                QuestionRecord(
                    index, Likelihood(loss.loss, loss.tokens), truth=reply.response, correct=loss.correct
                )
                for index, (reply, loss) in enumerate(zip(replies, losses, strict=True))
            ]
        return self.log_of(sets, encoder)

    def generate(self, model: Any, encoder: Encoder, log: EvaluationLog) -> EvaluationLog:
        room = max(1, window_of(model.config) - self.max_new_tokens)
        sets = {}
        for name, replies in self.sets.items():
            prompts = [encoder.opening(reply.context)[-room:] for reply in replies]
            texts = greedy_continuations(
                model, encoder.tokenizer, prompts, self.max_new_tokens, description=f"Generating {name}"
            )
            sets[name] = [
                replace(record, generation=text.split(NEXT_SPEAKER)[0])
                for record, text in zip(log.sets[name], texts, strict=True)
            ]
        return replace(log, sets=sets, generated=True)

    def metrics(self, log: EvaluationLog, reference: EvaluationLog | None = None) -> dict[str, Metric]:
        """Perplexities, and F1 where replies were generated. `reference` plays no part."""
        metrics: dict[str, Metric] = {}
        scores: list[list[float]] = []
        for name, records in log.sets.items():
            pairs = [(record.truth, record.generation) for record in records]
            f1 = [unigram_f1(truth, text) for truth, text in pairs if truth is not None and text is not None]
            if f1:
                scores.append(f1)
                metrics[f"{name}_f1"] = mean_with_interval(f1)
            metrics[f"{name}_perplexity"] = perplexity(records)
        if len(scores) > 1:
            metrics["dialogue_f1"] = mean_of_means(scores)
        return metrics

    def forget_score(self, metrics: Mapping[str, Metric]) -> float:
        """NaN: dialogues say what a model can do, not what it has forgotten."""
        return math.nan

    def utility_metric(self, metrics: Mapping[str, Metric], *, generated: bool) -> str | None:
        """The mean F1, or the F1 of the only set; None without generated replies."""
        return next((name for name in reversed(list(metrics)) if name.endswith("_f1")), None)


def _last(example: Example, window: int) -> Example:
    return Example(example.input_ids[-window:], example.labels[-window:])
