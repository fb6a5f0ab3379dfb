"""The slow oracle of TDEC: one generation a prefix, one forward pass a token, no batch and no cache of keys and values.

What the model answers to the same tokens again is looked up, or the loops would take minutes.
"""

from __future__ import annotations

import torch


class GreedyLoops:
    """Decodes with `model`, one sequence at a time."""

    def __init__(self, model: torch.nn.Module):
        self.model = model
        self._choices: dict[tuple[int, ...], int] = {}

    def first_choice(self, ids: list[int]) -> int:
        key = tuple(ids)
        if key not in self._choices:
            with torch.no_grad():
                self._choices[key] = int(self.model(torch.tensor([ids])).logits[0, -1].argmax())
        return self._choices[key]

    def continue_to(self, length: int, ids: list[int]) -> list[int]:
        ids = list(ids)
        while len(ids) < length:
            ids.append(self.first_choice(ids))
        return ids

    def disturbed(self, start: list[int], length: int, other: dict[int, int]) -> list[int]:
        """What the model writes after `start`, but another token at some places: known by heart except for these."""
        ids = list(start)
        for place in sorted(other):
            ids = [*self.continue_to(place, ids), other[place]]
        return self.continue_to(length, ids)

    def extraction_likelihood(self, sequence: list[int], n: int) -> float:
        """EL_n by its definition."""
        length = len(sequence)
        prefixes = range(1, length - n + 1)
        written = [self.continue_to(length, sequence[:prefix])[prefix:] for prefix in prefixes]
        return sum(overlap(text, sequence[-len(text) :], n) for text in written) / len(prefixes)

    def memorization_accuracy(self, sequence: list[int]) -> float:
        hits = [self.first_choice(sequence[:place]) == sequence[place] for place in range(1, len(sequence))]
        return sum(hits) / len(hits)


def overlap(written: list[int], truth: list[int], n: int) -> float:
    """The share of the n-grams of `written` that occur in `truth`."""
    grams = [written[start : start + n] for start in range(len(written) - n + 1)]
    there = [truth[start : start + n] for start in range(len(truth) - n + 1)]
    return sum(gram in there for gram in grams) / len(grams)


def loop_tokens(length: int, n: int) -> int:
    """Tokens that go through the model where each of the prefixes is continued without a cache: every step anew."""
    return sum(sum(range(prefix, length)) for prefix in range(1, length - n + 1))
