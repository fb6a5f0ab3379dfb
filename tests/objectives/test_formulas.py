"""Every loss and its gradient against its formula (methods.md §1), written out in float64 with plain autograd.

The oracles share no code with the losses. Four sequences of 2, 3, 0 and 2 label tokens over a vocabulary of 11.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid, one_hot

from expunge.methods.logit_difference import UNIFORM
from expunge.models.answers import AnswerTokens
from expunge.objectives import Outputs, forget_losses, retain_losses
from expunge.objectives.loss import Loss
from expunge.objectives.representation import DIRECTION_SEED

TARGETS = torch.tensor([0, 3, 9, 1, 1, 10, 4])
SEQUENCE = torch.tensor([0, 0, 1, 1, 1, 3, 3])
SEQUENCES, VOCABULARY, WIDTH = 4, 11, 5
TRUE = one_hot(TARGETS, VOCABULARY).double()
#: In the order of the fields of `Outputs`.
SOURCES = ("trained", "original", "reinforced", "substitute", "original_substitute")

Tensors = dict[str, Tensor]
#: (logits of each source (N, V), hidden states of each (N, d)) → one number a token or a sequence
Formula = Callable[[Tensors, Tensors], Tensor]


def log_p(y: Tensor) -> Tensor:
    return (log_softmax(y, -1) * TRUE).sum(-1)


def p(y: Tensor) -> Tensor:
    return log_p(y).exp()


def by_sequence(values: Tensor) -> Tensor:
    return torch.stack([values[row == SEQUENCE].sum() for row in range(SEQUENCES)])


def nll(y: Tensor) -> Tensor:
    return -by_sequence(log_p(y))


def cross_entropy(q: Tensor, y: Tensor) -> Tensor:
    """The target is held constant."""
    return -(q.detach() * log_softmax(y, -1)).sum(-1)


def hinge(y: Tensor) -> Tensor:
    others = torch.softmax(y, -1).masked_fill(TRUE.bool(), 0)
    return 1 + p(y) - others.max(-1).values


def preference(y: Tensors) -> Tensor:
    substitute = nll(y["original_substitute"]) - nll(y["substitute"])
    answer = nll(y["original"]) - nll(y["trained"])
    return -2 / 0.1 * logsigmoid(0.1 * (substitute - answer))


def divergence(y: Tensors) -> Tensor:
    original, trained = (log_softmax(y[source], -1) for source in ("original", "trained"))
    return (original.exp() * (original - trained)).sum(-1)


def mean_nll(y: Tensor) -> Tensor:
    return nll(y) / torch.tensor([2, 3, 1, 2])


def towards_a_direction(h: Tensor) -> Tensor:
    u = torch.rand(WIDTH, generator=torch.Generator().manual_seed(DIRECTION_SEED)).double()
    return (h - 6.5 * u / u.norm()).square().mean(-1)


def cross_entropy_of_uniform(y: Tensors, h: Tensors) -> Tensor:
    """ULD's loss on the retain set."""
    return -log_softmax(y["trained"], -1).mean(-1)


FORGET: dict[str, Formula] = {
    "ga": lambda y, h: log_p(y["trained"]),
    "wga": lambda y, h: p(y["trained"]).detach() * log_p(y["trained"]),
    "satimp": lambda y, h: (p(y["trained"]) ** 5 * (1 - p(y["trained"]))).detach() * log_p(y["trained"]),
    "idk": lambda y, h: -log_p(y["trained"]),
    "npo": lambda y, h: -2 / 0.1 * logsigmoid(0.1 * (nll(y["trained"]) - nll(y["original"]))),
    "simnpo": lambda y, h: -2 / 2.5 * logsigmoid(2.5 * mean_nll(y["trained"])),
    "dpo": lambda y, h: preference(y),
    "altpo": lambda y, h: preference(y),
    "ihl": lambda y, h: hinge(y["trained"]),
    "undial": lambda y, h: cross_entropy(torch.softmax(y["original"] - 10 * TRUE, -1), y["trained"]),
    "ceu": lambda y, h: cross_entropy(torch.softmax(y["trained"] - 1e9 * TRUE, -1), y["trained"]),
    "whp": lambda y, h: cross_entropy(
        torch.softmax(y["original"] - 5 * torch.relu(y["reinforced"] - y["original"]), -1), y["trained"]
    ),
    "pdu": lambda y, h: (y["trained"].max(-1).values - y["trained"].mean(-1)).square(),
    "rmu": lambda y, h: towards_a_direction(h["trained"]),
}
RETAIN: dict[str, Formula] = {
    "nll": lambda y, h: -log_p(y["trained"]),
    "kl": lambda y, h: divergence(y),
    "keep": lambda y, h: divergence(y) + torch.relu(log_p(y["original"]) - log_p(y["trained"])),
    "rmu": lambda y, h: (h["trained"] - h["original"]).square().mean(-1),
}
EVERY = [
    *((loss, FORGET[name]) for name, loss in forget_losses.items()),
    *((loss, RETAIN[name]) for name, loss in retain_losses.items()),
    (UNIFORM, cross_entropy_of_uniform),
]


def draw(dtype: torch.dtype) -> tuple[Tensors, Tensors]:
    """Logits and hidden states that `dtype` holds exactly, in float64; what is trained asks for a gradient."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for width in (VOCABULARY, WIDTH):
        drawn = {
            source: 2 * torch.randn(len(TARGETS), width, generator=generator, dtype=torch.float64)
            for source in SOURCES
        }
        found.append({source: values.to(dtype).double() for source, values in drawn.items()})
    for tensors in found:
        for source in ("trained", "substitute"):
            tensors[source].requires_grad_(True)
    return found[0], found[1]


def gradients(values: Tensor, y: Tensors, h: Tensors) -> list[Tensor]:
    """Of a weighted sum, so that no two numbers can stand in for each other."""
    weights = torch.linspace(0.5, 2, len(values), dtype=torch.float64)
    leaves = [tensors[source] for tensors in (y, h) for source in ("trained", "substitute")]
    found = torch.autograd.grad((values.double() * weights).sum(), leaves, allow_unused=True)
    return [
        torch.zeros_like(leaf) if grad is None else grad for grad, leaf in zip(found, leaves, strict=True)
    ]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 5e-3)])
@pytest.mark.parametrize(("loss", "formula"), EVERY, ids=[loss.compute.__name__ for loss, _ in EVERY])
def test_value_and_gradient_are_those_of_the_formula(
    loss: Loss, formula: Formula, dtype: torch.dtype, tolerance: float
) -> None:
    """In bf16 only the gradient is rounded: the loss itself is computed in fp32."""
    y, h = draw(dtype)
    wanted = formula(y, h)
    outputs = Outputs(
        *(
            AnswerTokens(y[source].to(dtype), TARGETS, SEQUENCE, SEQUENCES, h[source].to(dtype))
            for source in SOURCES
        )
    )
    found = loss.compute(outputs)
    torch.testing.assert_close(found.double(), wanted, rtol=1e-5, atol=1e-5)
    for ours, exact in zip(gradients(found, y, h), gradients(wanted, y, h), strict=True):
        assert (ours - exact).norm() <= tolerance * exact.norm()
