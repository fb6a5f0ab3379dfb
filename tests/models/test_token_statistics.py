"""Fused statistics of the logits against log-softmax in float64, by autograd."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from expunge.models import token_statistics as module
from expunge.models.answers import AnswerTokens
from expunge.models.token_statistics import cross_entropy, token_statistics


def oracle(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The same in float64, one token at a time."""
    log_p = torch.log_softmax(logits.double(), dim=-1)
    others = [
        torch.cat([row[:target], row[target + 1 :]]).max() for row, target in zip(log_p, targets, strict=True)
    ]
    of_targets = [row[target] for row, target in zip(log_p, targets, strict=True)]
    empty = log_p.new_empty(0)
    return (
        torch.logsumexp(logits.double(), dim=-1),
        torch.stack(of_targets) if of_targets else empty,
        torch.stack(others) if others else empty,
    )


def drawn(tokens: int, vocabulary: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, targets, and a weight for each of the three statistics of each token."""
    generator = torch.Generator().manual_seed(seed)
    return (
        3 * torch.randn(tokens, vocabulary, generator=generator),
        torch.randint(0, vocabulary, (tokens,), generator=generator),
        torch.randn(3, tokens, generator=generator),
    )


def gradient(compute, logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    logits = logits.clone().requires_grad_()
    total = sum(
        (weight * value).sum() for weight, value in zip(weights, compute(logits, targets), strict=True)
    )
    (found,) = torch.autograd.grad(total, logits)
    return found


@given(st.integers(0, 9), st.integers(2, 40), st.integers(0, 1000), st.sampled_from([1, 50, 2**20]))
def test_values_and_gradients_are_those_of_log_softmax(tokens, vocabulary, seed, at_a_time):
    logits, targets, weights = drawn(tokens, vocabulary, seed)
    before = dict(module.NUMBERS_IN_FP32)
    module.NUMBERS_IN_FP32["cpu"] = at_a_time
    try:
        for found, wanted in zip(token_statistics(logits, targets), oracle(logits, targets), strict=True):
            torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
        found = gradient(token_statistics, logits, targets, weights)
    finally:
        module.NUMBERS_IN_FP32.update(before)
    torch.testing.assert_close(
        found, gradient(oracle, logits, targets, weights.double()), rtol=1e-4, atol=1e-5
    )


def test_bf16_logits_get_one_gradient_in_bf16_with_the_rounding_of_bf16_alone():
    logits, targets, weights = drawn(20, 500)
    logits = logits.bfloat16()
    found = gradient(token_statistics, logits, targets, weights)
    assert found.dtype == torch.bfloat16
    wanted = gradient(oracle, logits.double(), targets, weights.double())
    torch.testing.assert_close(found.double(), wanted, rtol=2**-8, atol=1e-6)
    assert all(value.dtype == torch.float32 for value in token_statistics(logits, targets))


@given(st.integers(0, 9), st.integers(2, 40), st.integers(0, 1000), st.sampled_from([1, 50, 2**20]))
def test_cross_entropy_is_that_of_log_softmax(tokens, vocabulary, seed, at_a_time):
    logits, _, (weights, *_) = drawn(tokens, vocabulary, seed)
    q = torch.softmax(drawn(tokens, vocabulary, seed + 1)[0], -1)
    ours, exact = logits.clone().requires_grad_(), logits.double().requires_grad_()
    wanted = -(q.double() * torch.log_softmax(exact, -1)).sum(-1)
    before = dict(module.NUMBERS_IN_FP32)
    module.NUMBERS_IN_FP32["cpu"] = at_a_time
    try:
        found = cross_entropy(ours, q)
        (gradient_found,) = torch.autograd.grad((weights * found).sum(), ours)
    finally:
        module.NUMBERS_IN_FP32.update(before)
    (gradient_wanted,) = torch.autograd.grad((weights.double() * wanted).sum(), exact)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(gradient_found.double(), gradient_wanted, rtol=1e-4, atol=1e-6)


def test_the_difference_of_close_distributions_is_rounded_to_bf16_once():
    """Each rounded first, p − q would be off by as much as itself: they differ by about one part in 400."""
    logits, _, _ = drawn(20, 500)
    logits = logits.bfloat16().requires_grad_()
    nudge = 0.0025 * torch.randn(20, 500, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    q = torch.softmax(logits.detach().double() + nudge, -1)
    (found,) = torch.autograd.grad(cross_entropy(logits, q.float()).sum(), logits)
    wanted = torch.softmax(logits.detach().double(), -1) - q
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), wanted, rtol=2**-7, atol=1e-8)


def test_a_tie_with_the_true_token_is_the_best_other():
    logits = torch.tensor([[2.0, 2.0, 1.0]])
    _, log_p, best = token_statistics(logits, torch.tensor([1]))
    assert best == log_p


def test_parts_of_a_batch_share_one_gradient_of_its_logits(monkeypatch):
    logits, targets, _ = drawn(7, 30)
    logits.requires_grad_()
    sequence = torch.tensor([0, 0, 1, 1, 1, 3, 3])
    calls = []
    monkeypatch.setattr(
        "expunge.models.answers.token_statistics", lambda *given: calls.append(1) or token_statistics(*given)
    )
    whole = AnswerTokens(logits, targets, sequence, 4)
    forget, retain = whole.rows(0, 2), whole.rows(2, 4)
    loss = (3 * forget.log_probability).sum() - retain.best_other_log_probability.sum()
    (found,) = torch.autograd.grad(loss, logits)
    assert len(calls) == 1
    weights = torch.tensor([[0.0] * 7, [3.0] * 5 + [0.0] * 2, [0.0] * 5 + [-1.0] * 2])
    wanted = gradient(oracle, logits.detach(), targets, weights.double())
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)
    assert forget.log_normaliser.tolist() == pytest.approx(torch.logsumexp(logits[:5], -1).tolist())
