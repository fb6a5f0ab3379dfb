"""The weighted low-rank approximation against its definition."""

from __future__ import annotations

import pytest
import torch

from expunge.adapters.low_rank import official_low_rank, weighted_low_rank


def weighted_error(W: torch.Tensor, d: torch.Tensor, A: torch.Tensor, B: torch.Tensor, s: float) -> float:
    return float((d[:, None] * (W - s * B @ A)).norm())


def test_it_reaches_the_optimum_of_eckart_young() -> None:
    W, d = torch.randn(12, 9), torch.rand(12) + 0.1
    A, B = weighted_low_rank(W, d, rank=4, scaling=2.0)
    left_out = torch.linalg.svdvals(d[:, None].double() * W.double())[4:].norm()
    assert weighted_error(W, d, A, B, 2.0) == pytest.approx(float(left_out), rel=1e-5)


def test_heavy_rows_are_reproduced_better_than_by_the_plain_svd() -> None:
    W = torch.randn(12, 9)
    d = torch.ones(12)
    d[3] = 50.0
    weighted_A, weighted_B = weighted_low_rank(W, d, rank=2, scaling=1.0)
    plain_A, plain_B = weighted_low_rank(W, torch.ones(12), rank=2, scaling=1.0)
    assert (W - weighted_B @ weighted_A)[3].norm() < 0.05 * (W - plain_B @ plain_A)[3].norm()


def test_only_the_direction_of_the_row_weights_matters() -> None:
    W, d = torch.randn(12, 9), torch.rand(12) + 0.1
    for one, other in zip(
        weighted_low_rank(W, d, 4, 2.0), weighted_low_rank(W, 1000 * d, 4, 2.0), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_the_factors_are_balanced() -> None:
    A, B = weighted_low_rank(torch.randn(12, 9), torch.rand(12) + 0.1, 4, 2.0)
    assert float(A.norm()) == pytest.approx(float(B.norm()), rel=1e-5)


def test_above_a_few_hundred_columns_the_svd_is_randomised_near_the_best_and_seeded() -> None:
    """Singular values that decay as slowly as those of trained layers: the error is within 0.1 % of the best."""
    left, right = (torch.linalg.qr(torch.randn(rows, 300)).Q for rows in (420, 300))
    W = left * torch.arange(1, 301).pow(-0.5) @ right.T
    d = torch.rand(420) + 0.5
    state = torch.get_rng_state()
    A, B = weighted_low_rank(W, d, 8, 1.0, seed=3)
    assert torch.equal(torch.get_rng_state(), state)
    _, S, Vh = torch.linalg.svd(d[:, None].double() * W.double())
    assert weighted_error(W, d, A, B, 1.0) < 1.001 * float(S[8:].norm())
    again = weighted_low_rank(W, d, 8, 1.0, seed=3)
    assert torch.equal(again[0], A)
    assert not torch.equal(weighted_low_rank(W, d, 8, 1.0, seed=4)[0], A)
    # Overlap of the row spaces; without oversampling it is 0.94 to 0.99, with one power iteration as low as 0.89.
    ours = torch.linalg.qr(A.T.double()).Q
    assert float((Vh[:8] @ ours).square().sum()) / 8 > 0.9999


@pytest.mark.parametrize("shape", [(12, 3), (2, 9), (1, 9)])
def test_a_rank_above_the_smaller_side_takes_over_the_whole_matrix_and_fills_up_with_zeros(
    shape: tuple[int, int],
) -> None:
    W, d, side = torch.randn(shape), torch.rand(shape[0]) + 0.1, min(shape)
    for low_rank, s, precision in (weighted_low_rank, 2.0, 1e-5), (official_low_rank, 1.0, 1e-3):
        A, B = low_rank(W, d, 5, s)
        assert (A.shape, B.shape) == ((5, shape[1]), (shape[0], 5))
        torch.testing.assert_close(s * B @ A, W, rtol=precision, atol=precision)
        assert not A[side:].any()
        assert not B[:, side:].any()


def test_rows_and_weights_of_zero_are_survived() -> None:
    W = torch.randn(6, 5)
    for d in (torch.zeros(6), torch.tensor([0.0, 1, 1, 1, 1, 1])):
        A, B = weighted_low_rank(W, d, 2, 1.0)
        assert A.isfinite().all()
        assert B.isfinite().all()
    A, B = weighted_low_rank(torch.zeros(6, 5), torch.ones(6), 2, 1.0)
    assert A.isfinite().all()
    assert torch.equal(B @ A, torch.zeros(6, 5))
