"""Log-probabilities and inverted hinge from one pass over the logits, against autograd's own way.

    python experiments/speed/token_statistics.py

Both make the mean inverted hinge loss 1 + p(x_t) − max_{v≠x_t} p(v) of 800 tokens and its gradient with respect to the
logits. Plain: a log-softmax in fp32, a gather, and the largest of a copy without the true tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from side_by_side import Spread, Variant, in_turn, on_the_cpu, parser, ratio, write
from torch import Tensor

from expunge.models.token_statistics import token_statistics

TOKENS = 800
VOCABULARIES = (4096, 32000)
DTYPES = (torch.float32, torch.bfloat16)
#: Calls that are timed together.
CALLS = 4
COLUMNS = ["vocabulary", "dtype", "way", "seconds", "plain ÷ it"]


def fused(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """log p(x_t) and max over v ≠ x_t of log p(v), each (N,) fp32."""
    _, of_target, of_other = token_statistics(logits, targets)
    return of_target, of_other


def plain(logits: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The same by autograd's own functions."""
    log_p = logits.float().log_softmax(-1)
    of_other = log_p.scatter(-1, targets[:, None], -torch.inf).amax(-1)
    return log_p.gather(-1, targets[:, None]).squeeze(-1), of_other


def hinge(way: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]], logits: Tensor, targets: Tensor) -> Tensor:
    """The gradient of the mean inverted hinge loss, as large as the logits."""
    logits.grad = None
    of_target, of_other = way(logits, targets)
    (1 + of_target.exp() - of_other.exp()).mean().backward()
    assert logits.grad is not None
    return logits.grad


def main() -> None:
    options = parser(__doc__, "token_statistics", repetitions=5).parse_args()
    on_the_cpu()
    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    rows: list[dict[str, Any]] = []
    for vocabulary in VOCABULARIES:
        targets = torch.randint(0, vocabulary, (TOKENS,), generator=generator)
        drawn = 3 * torch.randn(TOKENS, vocabulary, generator=generator)
        for dtype in DTYPES:
            logits = drawn.to(dtype, copy=True).requires_grad_(True)

            def calls(way: Callable[..., Any], logits: Tensor = logits, targets: Tensor = targets) -> None:
                for _ in range(CALLS):
                    hinge(way, logits, targets)

            chosen = {
                name: Variant(lambda way=way, calls=calls: calls(way), scale=1 / CALLS)
                for name, way in {"fused": fused, "plain": plain}.items()
            }
            seconds = in_turn(chosen, options.repetitions)
            rows += [
                {
                    "vocabulary": vocabulary,
                    "dtype": str(dtype).removeprefix("torch."),
                    "way": name,
                    "seconds": Spread.of(seconds[name]),
                    "plain ÷ it": ratio(seconds, "plain", name),
                }
                for name in chosen
            ]
    write(options, COLUMNS, rows, {"tokens": TOKENS, "calls": CALLS})


if __name__ == "__main__":
    main()
