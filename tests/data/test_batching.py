"""Batches of like length, against every way of cutting the sorted lengths."""

from __future__ import annotations

from itertools import combinations, pairwise

import pytest

from expunge.data.batching import PASS_TOKENS, least_padding


def cost(lengths: list[int], batches: list[list[int]]) -> int:
    return sum(len(batch) * max(lengths[index] for index in batch) + PASS_TOKENS for batch in batches)


def least_cost(lengths: list[int], batch_size: int) -> int:
    """The least over all ways of cutting the sorted lengths into batches."""
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    found = []
    for count in range(len(order)):
        for cuts in combinations(range(1, len(order)), count):
            edges = [0, *cuts, len(order)]
            batches = [order[a:b] for a, b in pairwise(edges)]
            if max(len(batch) for batch in batches) <= batch_size:
                found.append(cost(lengths, batches))
    return min(found)


@pytest.mark.parametrize("batch_size", [1, 2, 3, 20])
def test_no_other_cut_is_cheaper(batch_size: int) -> None:
    lengths = [90, 12, 88, 14, 60, 13, 11, 58, 200]
    batches = least_padding(lengths, batch_size)
    assert sorted(index for batch in batches for index in batch) == list(range(9))
    assert max(len(batch) for batch in batches) <= batch_size
    assert cost(lengths, batches) == least_cost(lengths, batch_size)


def test_the_longest_come_first_and_one_length_is_one_batch() -> None:
    assert least_padding([5, 300, 5, 5], 8) == [[1], [0, 2, 3]]
    assert sorted(map(len, least_padding([7] * 5, 2))) == [1, 2, 2]
    assert least_padding([], 4) == []
