"""The breakdown of `factored`, and the two ways to a token's statistics that are timed."""

from __future__ import annotations

import breakdown
import pytest
import token_statistics
import torch
from torch import nn


def test_parts_are_timed_where_they_are_computed() -> None:
    """The outer part takes 1 + 2 s and its inner one 2, twice; afterwards both are what they were."""
    now = [0.0]

    class Work:
        def outer(self) -> str:
            now[0] += 1.0
            return self.inner("b")

        def inner(self, letter: str) -> str:
            now[0] += 2.0
            return letter

    before = vars(Work).copy()
    parts = {"outer": (Work, "outer"), "inner": (Work, "inner")}
    with breakdown.timed(parts, lambda: now[0]) as seconds:
        assert [Work().outer() for _ in range(2)] == ["b", "b"]
    assert seconds == {"outer": 6.0, "inner": 4.0}
    assert vars(Work) == before


def test_what_is_timed_is_there() -> None:
    for owner, name in breakdown.PARTS.values():
        assert callable(getattr(owner, name))


def test_the_parts_and_the_rest_are_the_whole() -> None:
    parts = {breakdown.GRAM: 1.0, breakdown.SUMS: 1.5, breakdown.MAP: 0.25}
    assert breakdown.shares(10.0, 12.0, parts) == {
        "bare": 10.0,
        "Gram matrices × δ": 1.0,
        "sketch of the mean": 0.5,
        "map of both sets": 0.25,
        "the rest": 0.25,
        "factored": 12.0,
    }


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_ways_give_one_gradient(dtype: torch.dtype) -> None:
    """That of 1 + p(x_t) − max_{v≠x_t} p(v), written with a one-hot matrix."""
    generator = torch.Generator().manual_seed(0)
    drawn = 3 * torch.randn(5, 11, generator=generator)
    targets = torch.randint(0, 11, (5,), generator=generator)
    y = drawn.to(dtype).float().requires_grad_(True)
    p, true = y.softmax(-1), nn.functional.one_hot(targets, 11)
    (1 + (p * true).sum(-1) - (p * (1 - true)).amax(-1)).mean().backward()
    for way in (token_statistics.fused, token_statistics.plain):
        found = token_statistics.hinge(way, drawn.to(dtype).requires_grad_(True), targets)
        assert found.dtype == dtype
        torch.testing.assert_close(
            found.float(), y.grad, rtol=1e-2, atol=1e-4 if dtype.itemsize == 2 else 1e-7
        )
