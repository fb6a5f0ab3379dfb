"""How the samples are passed through the model while their gradients are measured.

The default is one pass in eval mode over the model as it is, with a gradient for every sample. The others exist for
comparison with the papers: `perturb` is VILA's text taken literally, `official` reproduces the public code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ..errors import InputError, Problem
from ..models.modes import evaluating, training
from .estimator import Estimator, Sums
from .vila import Projected

#: Absolute ε of the public code, for entries and for rows.
OFFICIAL_EPSILON = 1e-5


@dataclass(frozen=True)
class Procedure:
    """passes: over each set; perturb: add s·BA to W; batch_mean: a gradient per batch, weighted by its tokens

    epsilon:     ε of the relative importance, absolute; None for a share of the median
    row_epsilon: added to the row sums before the root
    divisions:   how often the sums are divided by the count
    mode:        of the model while measuring
    """

    passes: int = 1
    perturb: bool = False
    batch_mean: bool = False
    epsilon: float | None = None
    row_epsilon: float = 0.0
    divisions: int = 1
    mode: Callable[[Any], AbstractContextManager[None]] = evaluating

    def sums(self, estimator: Estimator, x: Tensor, delta: Tensor, tokens: int) -> Sums:
        """The estimator's statistics of a batch whose loss is a sum over `tokens` label tokens."""
        if not self.batch_mean:
            return estimator.sums(x, delta)
        # All positions of the batch as if they were one sample: δᵀx is then the gradient of the batch's mean.
        mean = estimator.sums(x.flatten(0, 1)[None], delta.flatten(0, 1)[None] / tokens)
        return {name: tokens * value for name, value in mean.items()}

    def count(self, samples: int, tokens: int) -> int:
        """What a batch adds to the count that the sums are divided by."""
        return tokens if self.batch_mean else samples

    def finished(self, sums: dict[str, Sums], count: int) -> dict[str, Sums]:
        """The sums after all but one of the divisions by the count, in place; the estimator makes the last."""
        factor = count ** (1 - self.divisions) if count else 1.0
        if factor != 1.0:  # nothing that is as large as the model's weights is made or read without need
            for values in sums.values():
                for value in values.values():
                    value.mul_(factor)
        return sums


#: What the public code of the two papers does (methods.md §2).
OFFICIAL = {
    "fila": Procedure(batch_mean=True, epsilon=OFFICIAL_EPSILON, row_epsilon=OFFICIAL_EPSILON, mode=training),
    "vila": Procedure(
        passes=10,
        perturb=True,
        batch_mean=True,
        epsilon=OFFICIAL_EPSILON,
        row_epsilon=OFFICIAL_EPSILON,
        divisions=2,
        mode=training,
    ),
}


def choose_procedure(estimator: str, kind: type[Estimator], *, perturb: bool, official: bool) -> Procedure:
    """Raises `InputError` where the estimator has no random pair to perturb with, or no public code."""
    if official:
        if estimator not in OFFICIAL:
            raise InputError(
                Problem("importance.official", f"there is no public code of {estimator!r}.",
                        f"Use {' or '.join(OFFICIAL)}, or set it to false.")
            )  # fmt: skip
        return OFFICIAL[estimator]
    if perturb and not issubclass(kind, Projected):
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
