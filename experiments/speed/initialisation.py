"""Adapter initialisation: seconds, and how far from the best low-rank approximation.

    python experiments/speed/initialisation.py

Matrices whose singular values fall like i^(−1/2), as those of trained layers roughly do, with row weights d spread
over a factor of ten. Against the exact SVD: ours (exact up to a smaller side of 256, randomised above), and the public
code's (`svd_lowrank` with exactly `rank` columns). Excess: how much the error ‖diag(d)(W − s·BA)‖² exceeds the least
possible one, relative to what rank r can take away. Overlap: mean squared cosine between the found and the exact
subspace of the rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from side_by_side import Spread, Variant, in_turn, on_the_cpu, parser, ratio, write
from torch import Tensor

from expunge.adapters import low_rank

RANK, SCALING = 8, 2.0
SIZES = ((192, 512), (512, 1376), (1024, 1024), (2304, 2304))
COLUMNS = ["size", "method", "seconds", "exact ÷ it", "excess", "overlap"]

Method = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def matrix(d_out: int, d_in: int) -> tuple[Tensor, Tensor]:
    """W (d_out, d_in) and d (d_out,), seeded."""
    generator = torch.Generator().manual_seed(d_out + d_in)
    small = min(d_out, d_in)
    left = torch.linalg.qr(torch.randn(d_out, small, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(d_in, small, generator=generator)).Q
    values = torch.arange(1, small + 1).pow(-0.5)
    return left * values @ right.T, 10 ** torch.rand(d_out, generator=generator)


def exact(W: Tensor, d: Tensor) -> tuple[Tensor, Tensor]:
    U, S, Vh = torch.linalg.svd(d[:, None] * W, full_matrices=False)
    root = S[:RANK].sqrt()
    return root[:, None] * Vh[:RANK] / SCALING**0.5, U[:, :RANK] * root / d[:, None] / SCALING**0.5


METHODS: dict[str, Method] = {
    "exact SVD": exact,
    "ours": lambda W, d: low_rank.weighted_low_rank(W, d, RANK, SCALING),
    "public code's": lambda W, d: low_rank.official_low_rank(W, d, RANK, SCALING),
}


def quality(
    W: Tensor, d: Tensor, found: tuple[Tensor, Tensor], best: tuple[Tensor, Tensor]
) -> tuple[float, float]:
    """Excess error and overlap."""
    weighted = (d[:, None] * W).double()

    def left_over(factors: tuple[Tensor, Tensor]) -> float:
        A, B = (factor.double() for factor in factors)
        return float((weighted - SCALING * d[:, None] * (B @ A)).square().sum())

    least = left_over(best)
    excess = (left_over(found) - least) / (float(weighted.square().sum()) - least)
    bases = [torch.linalg.qr(A.double().T).Q for A in (found[0], best[0])]
    return excess, float((bases[0].T @ bases[1]).square().sum() / RANK)


def _kept(found: dict[str, Any], name: str, method: Method, W: Tensor, d: Tensor) -> Callable[[], None]:
    def run() -> None:
        found[name] = method(W, d)

    return run


def main() -> None:
    options = parser(__doc__, "initialisation", repetitions=3).parse_args()
    on_the_cpu()
    torch.set_num_threads(options.threads)
    rows: list[dict[str, Any]] = []
    for size in SIZES:
        W, d = matrix(*size)
        found: dict[str, tuple[Tensor, Tensor]] = {}
        chosen = {name: Variant(_kept(found, name, method, W, d)) for name, method in METHODS.items()}
        seconds = in_turn(chosen, options.repetitions)
        for name in chosen:
            excess, overlap = quality(W, d, found[name], found["exact SVD"])
            rows.append({
                "size": f"{size[0]} × {size[1]}",
                "method": name,
                "seconds": Spread.of(seconds[name]),
                "exact ÷ it": ratio(seconds, "exact SVD", name),
                "excess": f"{max(excess, 0.0):.1e}",
                "overlap": f"{overlap:.4f}",
            })  # fmt: skip
    write(options, COLUMNS, rows, {"rank": RANK, "sizes": SIZES})


if __name__ == "__main__":
    main()
