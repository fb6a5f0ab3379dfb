"""The choice of examples that share a forward pass, where their order is free."""

from __future__ import annotations

from collections.abc import Sequence

#: The cost of a forward pass besides its tokens, in tokens: on a CPU and on a GPU it is a small part of a batch.
PASS_TOKENS = 32


def least_padding(lengths: Sequence[int], batch_size: int) -> list[list[int]]:
    """Indices in batches of at most `batch_size`, so that padding and the number of batches are least.

    Sorted by length, the cuts are those that minimise Σ over batches of rows · longest + `PASS_TOKENS` (dynamic
    programming, len(lengths) · batch_size steps). The longest come first: a batch that does not fit the memory fails
    at once, not at the end.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    costs = [0]
    cuts = [0]
    for stop in range(1, len(order) + 1):
        cost, cut = min(
            (costs[start] + (stop - start) * lengths[order[start]] + PASS_TOKENS, start)
            for start in range(max(0, stop - batch_size), stop)
        )
        costs.append(cost)
        cuts.append(cut)
    batches = []
    stop = len(order)
    while stop:
        batches.append(order[cuts[stop] : stop])
        stop = cuts[stop]
    return batches[::-1]
