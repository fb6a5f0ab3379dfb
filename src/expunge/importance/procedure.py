"""All that distinguishes one way of measuring importance from another, chosen once and handed down.

The default is one pass in eval mode over the model as it is, with a gradient for every sample. The others exist for
comparison with the papers: `perturb` is VILA's text taken literally, `official` reproduces the public code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ..errors import InputError, Problem
from ..models.modes import evaluating, training
from .estimator import Estimator, Sums
from .registry import estimators
from .vila import Projected

#: Absolute ε of the public code.
OFFICIAL_EPSILON = 1e-5


@dataclass(frozen=True)
class Procedure:
    """How samples become row importances, and those an adapter.

    passes:         over each set
    redrawn:        at every pass the samples come in another order, in batches that are full but for the last, and the
                    retain samples are drawn anew; otherwise they are the same, in batches with the least padding
    perturb:        s·BA is added to W, with the pair A, B that the estimator projects to
    batch_mean:     a gradient per batch, of its mean loss, weighted by its label tokens; otherwise one per sample
    scaled:         the gradients carry s, as those of A and B do in a LoRA layer
    divided_again:  the importance of an entry is divided by the count once more
    epsilon:        ε of the relative importance, absolute; None for a share of the median
    mode:           of the model while measuring
    public_factors: A and B follow from d as in the public code (`adapters.low_rank.official_low_rank`)
    """

    passes: int = 1
    redrawn: bool = False
    perturb: bool = False
    batch_mean: bool = False
    scaled: bool = False
    divided_again: bool = False
    epsilon: float | None = None
    mode: Callable[[Any], AbstractContextManager[None]] = evaluating
    public_factors: bool = False

    def sums(self, estimator: Estimator, x: Tensor, delta: Tensor, tokens: int, scaling: float) -> Sums:
        """The estimator's statistics of a batch whose loss is a sum over `tokens` label tokens."""
        if self.scaled:
            delta = scaling * delta
        if not self.batch_mean:
            return estimator.sums(x, delta)
        # All positions of the batch as if they were one sample: δᵀx is then the gradient of the batch's mean.
        mean = estimator.sums(x.flatten(0, 1)[None], delta.flatten(0, 1)[None] / tokens)
        return {name: tokens * value for name, value in mean.items()}

    def count(self, samples: int, tokens: int) -> int:
        """The batch's share of the count by which the sums are divided."""
        return tokens if self.batch_mean else samples

    def rows(self, estimator: Estimator, sums: Sums, count: int, rows: slice) -> Tensor:
        """Importance of the given rows of W, (rows, d_in) fp32 ≥ 0, from the sums of a whole set."""
        importance = estimator.rows(sums, count, rows)
        return importance / count if self.divided_again else importance


_PUBLIC = Procedure(
    redrawn=True, batch_mean=True, epsilon=OFFICIAL_EPSILON, mode=training, public_factors=True
)

#: The procedures of the public code of the two papers, with the passes of their repositories (methods.md §2).
OFFICIAL = {
    "fila": _PUBLIC,
    "vila": replace(_PUBLIC, passes=10, perturb=True, scaled=True, divided_again=True),
}


def choose_procedure(
    estimator: str, *, perturb: bool = False, official: bool = False, passes: int | None = None
) -> Procedure:
    """The procedure that the arguments ask for. passes: of the public code, in place of its own paper's.

    Raises `InputError` where the estimator has no random pair to perturb with, or no public code, and where passes are
    asked for that would all be the same.
    """
    if official:
        if estimator not in OFFICIAL:
            raise InputError(
                Problem("importance.official", f"there is no public code of {estimator!r}.",
                        f"Use {' or '.join(OFFICIAL)}, or set it to false.")
            )  # fmt: skip
        procedure = OFFICIAL[estimator]
        return procedure if passes is None else replace(procedure, passes=passes)
    if passes is not None:
        raise InputError(
            Problem("importance.passes", "one pass gives all that there is: a second would be the same.",
                    "Leave it out, or set importance.official to true: the public code draws anew at each pass.")
        )  # fmt: skip
    if perturb and not issubclass(estimators[estimator], Projected):
        raise InputError(
            Problem("importance.perturb", f"{estimator!r} has no random pair A, B to perturb the model with.",
                    "Use 'vila' or 'lora_fisher', or set it to false.")
        )  # fmt: skip
    return Procedure(perturb=perturb)


@contextmanager
def perturbed(
    layers: Mapping[str, nn.Module], measured: Mapping[str, Estimator], scaling: float
) -> Iterator[None]:
    """Within the block every layer computes (W + s·BA)x; no weight is touched."""
    with ExitStack() as hooks:
        for name, module in layers.items():
            pair = measured[name]
            assert isinstance(pair, Projected)
            hooks.callback(module.register_forward_hook(_addition(pair, scaling)).remove)
        yield


def _addition(pair: Projected, scaling: float) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def after_forward(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        added = (inputs[0].float() @ pair.A.T) @ pair.B.T
        return output + (scaling * added).to(output.dtype)

    return after_forward
