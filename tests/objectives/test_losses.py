"""Losses: values derived by hand, gradients against the formulas of the papers and a float64 oracle."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from expunge.errors import InputError
from expunge.models.answers import AnswerTokens
from expunge.objectives import Objective, StepTotals, forget_losses, retain_losses
from expunge.objectives.loss import Hyperparameters

SETTINGS = Hyperparameters(beta=0.1)


def tokens(logits: torch.Tensor, targets: list[int], sequence: list[int] | None = None) -> AnswerTokens:
    rows = torch.tensor(sequence or [0] * len(targets), dtype=torch.long)
    count = int(rows.max()) + 1 if len(rows) else 0
    return AnswerTokens(logits, torch.tensor(targets, dtype=torch.long), rows, count)


def value(name: str, found: AnswerTokens, reference: AnswerTokens | None = None) -> torch.Tensor:
    registry = forget_losses if name in forget_losses else retain_losses
    return registry[name].compute(found, reference, SETTINGS)


#: p = (0.5, 0.25, 0.25) and p = (0.1, 0.2, 0.7)
KNOWN = torch.log(torch.tensor([[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]])) + 3.0


def test_gradient_ascent_by_hand() -> None:
    found = value("ga", tokens(KNOWN, [0, 2]))
    torch.testing.assert_close(found, torch.tensor([math.log(0.5), math.log(0.7)]))
    torch.testing.assert_close(value("nll", tokens(KNOWN, [0, 2])), -found)


def test_inverted_hinge_by_hand() -> None:
    """1 + 0.5 − 0.25 where the true token leads, 1 + 0.1 − 0.7 where it does not."""
    torch.testing.assert_close(value("ihl", tokens(KNOWN, [0, 0])), torch.tensor([1.25, 0.4]))


def test_negative_preference_by_hand() -> None:
    """NLL(x) = −log 0.5 − log 0.7; NLL_ref = −log 0.25 − log 0.2; summed over the sequence."""
    reference = tokens(KNOWN.flip(1), [0, 1])
    gain = (-math.log(0.5) - math.log(0.7)) - (-math.log(0.25) - math.log(0.2))
    wanted = -(2 / 0.1) * math.log(1 / (1 + math.exp(-0.1 * gain)))
    found = value("npo", tokens(KNOWN, [0, 2]), reference)
    assert found.tolist() == pytest.approx([wanted], rel=1e-5)


def test_negative_preference_at_step_0_is_two_log_two_over_beta() -> None:
    same = tokens(torch.randn(5, 7), [1, 2, 3, 4, 5], [0, 0, 1, 1, 1])
    torch.testing.assert_close(value("npo", same, same), torch.full((2,), 20 * math.log(2)))


def ihl_gradient(logits: torch.Tensor, target: int) -> torch.Tensor:
    """LoKU, appendix A, as written in the specification."""
    p = torch.softmax(logits, 0)
    others = p.clone()
    others[target] = -1
    best = int(others.argmax())
    gradient = p * (p[best] - p[target])
    gradient[target] = p[target] * (p[best] - p[target] + 1)
    gradient[best] = p[best] * (p[best] - p[target] - 1)
    return gradient


@given(st.lists(st.integers(-80, 80), min_size=3, max_size=9, unique=True), st.integers(0, 8))
def test_the_gradient_of_the_inverted_hinge_is_the_papers(tenths: list[int], target: int) -> None:
    logits = [tenth / 10 for tenth in tenths]
    target %= len(logits)
    y = torch.tensor([logits], dtype=torch.float32, requires_grad=True)
    value("ihl", tokens(y, [target])).sum().backward()
    torch.testing.assert_close(
        y.grad[0].double(), ihl_gradient(torch.tensor(logits).double(), target), atol=2e-6, rtol=1e-4
    )


def test_the_gradient_of_negative_preference_is_a_faded_gradient_of_ascent() -> None:
    """∂/∂y = 2σ(−β·gain) · ∂(−NLL)... of the summed NLL: for gain 0 exactly that of gradient ascent."""
    base = torch.randn(4, 6)
    sequence, targets = [0, 0, 1, 1], [0, 1, 2, 3]
    ours = base.clone().requires_grad_(True)
    reference = tokens(torch.randn(4, 6), targets, sequence)
    found = tokens(ours, targets, sequence)
    value("npo", found, reference).sum().backward()
    ascent = base.clone().requires_grad_(True)
    value("ga", tokens(ascent, targets, sequence)).sum().backward()
    gain = found.sum_by_sequence(reference.log_probability - found.log_probability).detach()
    weight = 2 * torch.sigmoid(-0.1 * gain)
    torch.testing.assert_close(ours.grad, weight[torch.tensor(sequence)][:, None] * ascent.grad)


@pytest.mark.parametrize("name", [*forget_losses, *retain_losses])
def test_gradients_in_float32_and_bf16_follow_float64(name: str) -> None:
    logits, targets, rows = torch.randn(6, 11) * 3, [0, 3, 9, 1, 1, 10], [0, 0, 1, 1, 1, 3]
    reference = torch.randn(6, 11)

    def gradient(dtype: torch.dtype) -> torch.Tensor:
        y = logits.to(dtype).detach().requires_grad_(True)
        value(name, tokens(y, targets, rows), tokens(reference.to(dtype), targets, rows)).sum().backward()
        return y.grad.double()

    exact = gradient(torch.float64)
    assert exact.abs().sum() > 0
    torch.testing.assert_close(gradient(torch.float32), exact, rtol=1e-4, atol=1e-5)
    assert (gradient(torch.bfloat16) - exact).norm() / exact.norm() < 0.03


@pytest.mark.parametrize("name", [*forget_losses, *retain_losses])
def test_no_label_at_all_is_no_loss(name: str) -> None:
    empty = AnswerTokens(
        torch.zeros(0, 5), torch.zeros(0, dtype=torch.long), torch.zeros(0, dtype=torch.long), 0
    )
    assert value(name, empty, empty).sum() == 0


def test_the_inverted_hinge_is_bounded_and_ascent_is_not() -> None:
    certain = torch.tensor([[60.0, 0, 0], [-60.0, 0, -60.0]])
    torch.testing.assert_close(value("ihl", tokens(certain, [0, 0])), torch.tensor([2.0, 0.0]))
    assert value("ga", tokens(certain, [1, 0]))[1] < -50


def test_a_row_without_labels_changes_nothing() -> None:
    totals = StepTotals(forget_tokens=2, forget_sequences=2, retain_tokens=0, retain_sequences=0)
    for name in forget_losses:
        objective = Objective.named(name)
        losses = [
            objective.forget_loss(tokens(KNOWN, [0, 2], rows), tokens(KNOWN.flip(1), [0, 2], rows), totals)
            for rows in ([0, 1], [0, 2])
        ]
        assert float(losses[0]) == pytest.approx(float(losses[1]), abs=1e-6)
    assert tokens(KNOWN, [0, 2], [0, 2]).token_counts.tolist() == [1, 0, 1]


def test_an_objective_divides_by_the_whole_step() -> None:
    objective = Objective.named("ihl", "nll", retain_weight=2.0)
    totals = StepTotals(forget_tokens=8, forget_sequences=4, retain_tokens=5, retain_sequences=4)
    assert float(objective.forget_loss(tokens(KNOWN, [0, 0]), None, totals)) == pytest.approx(1.65 / 8)
    assert float(objective.retain_loss(tokens(KNOWN, [0, 2]), None, totals)) == pytest.approx(
        -(math.log(0.5) + math.log(0.7)) / 5
    )
    npo = Objective.named("npo", "none")
    same = tokens(KNOWN, [0, 2], [0, 1])
    assert float(npo.forget_loss(same, same, totals)) == pytest.approx(2 * 20 * math.log(2) / 4)
    assert npo.retain is None
    assert float(npo.retain_loss(same, None, totals)) == 0
    assert npo.forget.reference
    assert not objective.forget.reference


def test_an_unknown_loss_names_the_nearest() -> None:
    with pytest.raises(InputError, match="Did you mean 'ihl'"):
        Objective.named("ihll")
