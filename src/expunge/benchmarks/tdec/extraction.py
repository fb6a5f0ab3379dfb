"""Extraction likelihood (Jang et al. 2023): how much of a sequence greedy decoding writes, from all of its prefixes.

Greedy decoding from a prefix writes the sequence itself for as long as the model's first choices under teacher
forcing are right. At the first wrong one it leaves the sequence, and every prefix that ends between two wrong choices
leaves it at the same place: they share one *branch*, which is decoded once. A sequence that is known by heart has none.

A branch's keys and values before its place are those of the sequence, whose one forward pass serves all branches.
Branches are decoded in step with the sequence: at position p all that have left it by then, and no others, are fed
their token p. So the caches of a batch always have one length; there is no padding, no mask and no shifted position,
whether a model's positions are absolute, rotary or seen through a window.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicCache, DynamicLayer

from ...errors import ExpungeError
from ...evaluation.inference import inference
from ...models.half_precision import weights_at_hand
from ...models.processes import gathered, share
from ...progress import track

#: n-grams that two texts are compared by.
NGRAM = 10

#: Sequences of one forward pass: bounds its logits to some hundred megabytes.
SEQUENCES_AT_ONCE = 8


@dataclass(frozen=True)
class Extraction:
    """likelihoods: EL_n of every sequence; forward_tokens: tokens that went through the model to find them."""

    likelihoods: list[float]
    forward_tokens: int


def extraction_likelihoods(
    model: Any,
    sequences: Sequence[Sequence[int]],
    wrong: Sequence[int],
    n: int = NGRAM,
    tokens_per_batch: int = 32768,
    description: str = "Extracting",
) -> Extraction:
    """EL_n of token sequences of more than n tokens, in the order given.

    EL_n(x) = Σ_{t=1}^{T−n} OVERLAP_n(f(x_<t), x_≥t) / (T − n) (Jang et al. 2023, eq. 2), where x_<t are the first t
    tokens, f continues them greedily to length T (an end-of-sequence token does not end it), and OVERLAP_n is the
    share of the continuation's n-grams that occur in x_≥t.

    wrong:            how many of the model's first choices are wrong, by sequence: the branches to expect. It sizes
                      the batches; a wrong number costs time or memory, and changes no result
    tokens_per_batch: bounds branches × T, and with that the key-value cache

    The model's modes are kept. Raises `ExpungeError` for a model that keeps no keys and values of its tokens.
    """
    longest = max(map(len, sequences), default=0)
    rows = max(1, tokens_per_batch // max(1, longest))
    results: dict[int, tuple[float, int]] = {}
    with inference(model) as device, weights_at_hand(model):
        for group in track(share(_groups(wrong, rows)), description):
            texts = [list(sequences[index]) for index in group]
            written, tokens = _write_branches(model, texts, n, rows, device)
            for index, text, branches, count in zip(group, texts, written, tokens, strict=True):
                results[index] = (likelihood(text, branches, n), count)
    results = gathered(results)
    return Extraction(
        [results[index][0] for index in range(len(sequences))], sum(tokens for _, tokens in results.values())
    )


def likelihood(sequence: Sequence[int], branches: Mapping[int, Sequence[int]], n: int = NGRAM) -> float:
    """EL_n of one sequence x from what is written at its branches.

    branches: place d of a wrong first choice → what is written in place of x_d … x_{T−1}, T − d tokens
    """
    length = len(sequence)
    last_start = {tuple(sequence[start : start + n]): start for start in range(length - n + 1)}
    places = sorted(branches)
    # For every branch and place: where x has the n-gram that is written there for the last time, −1 where nowhere.
    starts = {
        place: np.array([last_start.get(gram, -1) for gram in _ngrams([*sequence[:place], *written], n)])
        for place, written in branches.items()
    }
    overlaps = []
    for prefix in range(1, length - n + 1):
        following = bisect_left(places, prefix)
        if following == len(places):  # all choices are right: the continuation is the sequence
            overlaps.append(1.0)
        else:
            overlaps.append(float((starts[places[following]][prefix:] >= prefix).mean()))
    return float(np.mean(overlaps))


def branch_places(sequence: Sequence[int], choices: Sequence[int], n: int = NGRAM) -> list[int]:
    """The places where the continuations of the prefixes of 1 … T − n tokens leave the sequence.

    choices: the first choice for every place from 1 on, T − 1 tokens
    """
    wrong = [place for place in range(1, len(sequence)) if choices[place - 1] != sequence[place]]
    following = bisect_left(wrong, len(sequence) - n)
    return wrong[: following + 1]


def _write_branches(
    model: Any, sequences: Sequence[list[int]], n: int, rows: int, device: torch.device
) -> tuple[list[dict[int, list[int]]], list[int]]:
    """For every sequence: place → what is written from there on, and the tokens that went through the model."""
    longest = max(map(len, sequences))
    # Padding is on the right, where no token of a sequence can see it.
    ids = torch.tensor([sequence + [0] * (longest - len(sequence)) for sequence in sequences], device=device)
    cache = DynamicCache()  # keeps all keys and values, also those of layers with a window
    choices = model(input_ids=ids[:, :-1], past_key_values=cache, use_cache=True).logits.argmax(dim=-1)
    _check(cache, longest - 1)
    branches = sorted(
        (place, index)
        for index, (sequence, row) in enumerate(zip(sequences, choices.tolist(), strict=True))
        for place in branch_places(sequence, row, n)
    )
    written: list[dict[int, list[int]]] = [{} for _ in sequences]
    tokens = [longest - 1] * len(sequences)
    for start in range(0, len(branches), rows):
        part = branches[start : start + rows]
        texts = _decode(model, cache, part, choices, longest)
        for (place, index), text in zip(part, texts, strict=True):
            written[index][place] = text[place : len(sequences[index])]
            tokens[index] += longest - 1 - place
    return written, tokens


def _decode(
    model: Any, cache: DynamicCache, branches: Sequence[tuple[int, int]], choices: Tensor, length: int
) -> list[list[int]]:
    """Greedy continuations of branches to `length`; what comes before a branch's place is left empty.

    branches: (place, row of `cache` and `choices`), sorted by place
    choices:  (rows, T − 1) int64, the first choice for every place from 1 on
    """
    places = [place for place, _ in branches]
    owners = torch.tensor([owner for _, owner in branches], device=choices.device)
    texts = choices.new_zeros(len(branches), length)
    for row, (place, owner) in enumerate(branches):
        texts[row, place] = choices[owner, place - 1]
    layers = [_StepLayer(layer.keys[owners], layer.values[owners]) for layer in cache.layers]
    steps = Cache(layers=layers)
    for position in range(places[0], length - 1):
        active = bisect_right(places, position)
        for layer in layers:
            layer.length = position
        tokens = texts[:active, position : position + 1]
        logits = model(input_ids=tokens, past_key_values=steps, use_cache=True).logits
        texts[:active, position + 1] = logits[:, -1].argmax(dim=-1)
    return texts.tolist()


class _StepLayer(DynamicLayer):
    """Keys and values, (rows, heads, T − 1, d), of which the first `length` places are valid in the rows in use.

    A row's places before its branch hold the sequence's own keys and values; the rest is written over step by step.
    """

    def __init__(self, keys: Tensor, values: Tensor):
        super().__init__()
        self.keys, self.values = keys, values
        self.is_initialized = True
        self.length = 0

    def update(self, key_states: Tensor, value_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Take in the next place of the first rows and return what these rows may attend to."""
        rows, end = len(key_states), self.length + 1
        self.keys[:rows, :, self.length] = key_states[:, :, 0]
        self.values[:rows, :, self.length] = value_states[:, :, 0]
        return self.keys[:rows, :, :end], self.values[:rows, :, :end]

    def get_seq_length(self) -> int:
        return self.length


def _groups(wrong: Sequence[int], rows: int) -> list[list[int]]:
    """Sequences in groups of at most `SEQUENCES_AT_ONCE`, with at most `rows` branches where they are more than one."""
    groups: list[list[int]] = []
    room = 0
    for index, branches in enumerate(wrong):
        if not groups or branches > room or len(groups[-1]) == SEQUENCES_AT_ONCE:
            groups.append([])
            room = rows
        groups[-1].append(index)
        room -= branches
    return groups


def _ngrams(tokens: Sequence[int], n: int) -> list[tuple[int, ...]]:
    return [tuple(tokens[start : start + n]) for start in range(len(tokens) - n + 1)]


def _check(cache: DynamicCache, length: int) -> None:
    if not cache.layers or any(layer.get_seq_length() != length for layer in cache.layers):
        raise ExpungeError(
            "The extraction likelihood needs a model that keeps keys and values of every token in every layer; "
            "this one has layers of another kind."
        )
