"""`sample`: the model is asked the same many times, and one answer that tells is enough (leak@k)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from ..evaluation.sampling import sampled_continuations
from .asking import begun
from .attack import Attack, Item, Subject, Variant
from .items import drawn
from .leaks import Leak, leak_at_k
from .measuring import BEYOND_TRUTH, MAX_NEW_TOKENS
from .settings import BY_KEYWORDS, Budget

#: Samples of an item, the most items that are asked, and the temperatures.
SAMPLES: Mapping[Budget, int] = {"cheap": 8, "full": 64}
ITEMS: Mapping[Budget, int] = {"cheap": 20, "full": 100}
TEMPERATURES: Mapping[Budget, Sequence[float]] = {"cheap": (1.0,), "full": (1.0, 0.7)}
#: Tokens of a text that are given, at most half of it, and those that follow and are looked for.
GIVEN_OF_TEXT, FOLLOWING = 32, 64


class Sample(Attack):
    """leak@k for k = 1, 2, 4, … up to the samples; of n = 200 samples up to 128, as published.

    samples: of every item; by default what the budget allows
    leak:    what counts as a leak; by default what the subject says
    """

    title = "the model is asked again and again, and an answer that tells once is enough"
    paper = "leak@k: Reisizadeh et al. 2025; Scholten et al. 2025 (A Probabilistic Perspective on Unlearning); "\
        "estimator: Chen et al. 2021"  # fmt: skip
    cost = "8 answers to each of 20 questions, written by three models; full: 64 to each of 100, at two temperatures"

    counts_leaks = True

    def __init__(self, samples: int | None = None, leak: Leak | None = None):
        self.samples = samples
        self.leak = leak

    def unfit(self, subject: Subject) -> str | None:
        return None if _rows(subject) else "there is no answer that could be written"

    def variants(self, subject: Subject) -> Iterator[Variant]:
        rows = _rows(subject)
        items = [_asked(subject.forget[row], subject) for row in rows]
        count, leak = self.samples or SAMPLES[subject.budget], self.leak or subject.leak
        stated = "" if leak.recall == Leak.recall else f", recall ≥ {leak.recall:g}"
        by_keywords = sum(bool(item.keywords) for item in items)
        for temperature in TEMPERATURES[subject.budget]:
            counted = _Counted(subject, leak, count, temperature)
            for k in (2**power for power in range(count.bit_length())):
                yield Variant(
                    f"leak@{k}, T = {temperature:g}{stated}", items=items, rows=rows, measure=f"leak@{k}",
                    score=partial(counted, k), facts={BY_KEYWORDS: by_keywords} if by_keywords else {},
                )  # fmt: skip


class _Counted:
    """The leaks among the samples of a model, which are drawn once for every k."""

    def __init__(self, subject: Subject, leak: Leak, count: int, temperature: float):
        self.subject = subject
        self.leak = leak
        self.count = count
        self.temperature = temperature
        self.leaks: WeakKeyDictionary[Any, list[int]] = WeakKeyDictionary()

    def __call__(self, k: int, model: Any, items: Sequence[Item]) -> list[float]:
        if model not in self.leaks:
            self.leaks[model] = self._drawn(model, items)
        return leak_at_k(self.leaks[model], self.count, k).tolist()

    def _drawn(self, model: Any, items: Sequence[Item]) -> list[int]:
        tokenizer = self.subject.encoder.tokenizer
        limits = [min(MAX_NEW_TOKENS, item.example.label_count + BEYOND_TRUTH) for item in items]
        written = sampled_continuations(
            model,
            tokenizer,
            [item.prompt or [] for item in items for _ in range(self.count)],
            [(self.subject.seed, row, number) for row in range(len(items)) for number in range(self.count)],
            [limit for limit in limits for _ in range(self.count)],
            description=f"Sampling at T = {self.temperature:g}",
            temperature=self.temperature,
        )
        texts = [tokenizer.decode(each.ids, skip_special_tokens=True) for each in written]
        return [
            self.leak.among(item, texts[row * self.count : (row + 1) * self.count])
            for row, item in enumerate(items)
        ]


def _rows(subject: Subject) -> list[int]:
    rows = [row for row, item in enumerate(subject.forget) if _asked(item, subject).truth]
    return drawn(rows, ITEMS[subject.budget], subject.seed)


def _asked(item: Item, subject: Subject) -> Item:
    """A question as it is; of a text, which nothing asks for, the beginning."""
    return begun(item, subject.encoder, GIVEN_OF_TEXT, FOLLOWING) if item.prompt is None else item
