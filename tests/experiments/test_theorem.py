"""VILA's theorem 1: the experiment's parts against what they must be."""

from __future__ import annotations

import pytest
import theorem
import torch


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_the_product_of_independent_entries_has_the_stated_variance(generator: torch.Generator) -> None:
    errors = [theorem.product_of_draws(draws, generator) for draws in (100, 10_000)]
    assert errors[0] / errors[1] == pytest.approx(10, rel=0.2)  # as one over the root of the draws


def test_the_projections_go_to_what_factored_computes(generator: torch.Generator) -> None:
    g = torch.randn(5, 6, 9, generator=generator, dtype=torch.float64) * torch.linspace(0.1, 3, 9) + 1
    outright = theorem.outright(g)
    variance = ((g - g.mean(0)) ** 2).mean(0)
    assert outright[2, 3] == pytest.approx(float(variance[2].sum() * variance[:, 3].sum()))
    assert theorem._error(theorem.projections(g, 2000, generator), outright) < 0.04
    assert theorem._error(theorem.projections(g, 2, generator), outright) > 0.1


def test_the_terms(generator: torch.Generator) -> None:
    g = torch.randn(50, 6, 9, generator=generator, dtype=torch.float64)
    drawn, of_A, of_B, both = theorem.terms(g, generator)
    assert drawn == pytest.approx(theorem.RANK * theorem.SIGMA**4)
    # Var(gB) is 9 σ², Var(gA) 6 σ², of standard normal gradients; each times σ² and summed over r.
    assert of_A == pytest.approx(theorem.RANK * 6 * theorem.SIGMA**4, rel=0.3)
    assert of_B == pytest.approx(theorem.RANK * 9 * theorem.SIGMA**4, rel=0.3)
    assert both == pytest.approx(theorem.RANK * 54 * theorem.SIGMA**4, rel=0.5)
    found = theorem.of_gradients(g, generator)
    assert set(found) == {"share", "rows_of_product", "rows_of_weights"}
