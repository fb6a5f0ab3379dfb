"""What is asked under attack: samples as `Item`s, and which of them a small budget asks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from random import Random
from typing import TypeVar

from ..benchmarks.benchmark import Wordings
from ..data.encoding import Encoder
from ..data.samples import Sample
from .attack import Item

T = TypeVar("T")


def make_items(samples: Sequence[Sample], encoder: Encoder, wordings: Mapping[str, Wordings]) -> list[Item]:
    """Every sample encoded, a long text as several items, with what the benchmark knows of its question.

    wordings: by the question, as `Benchmark.wordings` gives them
    """
    items = []
    for number, sample in enumerate(samples):
        examples = sample.encode(encoder)
        prompted = len(examples) == 1 and sample.truth is not None
        known = wordings.get(getattr(sample, "question", ""), Wordings())
        items += [
            Item(
                sample,
                example,
                sample.prompt(encoder) if prompted else None,
                sample.truth if prompted else None,
                group=number if known.group is None else known.group,
                rewordings=known.rewordings,
                wrong=known.wrong,
                keywords=getattr(sample, "keywords", ()),
            )
            for example in examples
        ]
    return items


def drawn(items: Sequence[T], limit: int | None, seed: int) -> list[T]:
    """At most `limit` of the items, or of their places, drawn by the seed, in their order; all where it is None."""
    if limit is None or len(items) <= limit:
        return list(items)
    return [items[place] for place in sorted(Random(seed).sample(range(len(items)), limit))]
