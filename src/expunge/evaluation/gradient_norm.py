"""The gradient norm of single samples, for membership inference: one backward pass a sample."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ..data.encoding import Example, collate
from ..models.answers import answer_tokens
from ..models.modes import evaluating
from ..models.processes import gathered, refuse_shards, share
from ..progress import track

#: The names of the parameters of a PEFT adapter contain this.
ADAPTER_PREFIX = "lora_"
LARGEST = torch.finfo(torch.float32).max


def gradient_norms(
    model: Any, examples: Sequence[Example], pad_token_id: int, description: str = "Gradients"
) -> list[float]:
    """‖∂ (average loss) / ∂θ‖₂ of every example (Wang et al. 2024), in the order given.

    θ are the model's floating-point parameters; of an adapted model those of the base, whose gradient is that of
    the merged weights. A gradient is added up and freed as it is made, so no more than one is held at a time.
    The model's modes, `requires_grad` and gradients are left as they were. Every example needs a label token.
    Several processes share the examples: all must call it alike, and all return every norm. Raises `InputError` where
    the base is sharded: its gradients would be added up over the processes.
    """
    refuse_shards("gradient norms cannot be measured")
    norms: dict[int, float] = {}
    squares: list[Tensor] = []
    with evaluating(model), _adding_squares(model, squares) as device, torch.enable_grad():
        for index in track(share(range(len(examples))), description):
            batch = collate([examples[index]], pad_token_id)
            tokens = answer_tokens(model, {key: value.to(device) for key, value in batch.items()})
            (-tokens.log_probability.mean()).backward()
            # Of a model that is about to diverge the gradient may overflow: it counts as the largest there is.
            norm = torch.stack(squares).sum().sqrt()
            norms[index] = norm.nan_to_num(nan=LARGEST, posinf=LARGEST).item()
            squares.clear()
    return [norm for _, norm in sorted(gathered(norms).items())]


@contextmanager
def _adding_squares(model: Any, squares: list[Tensor]) -> Iterator[torch.device]:
    """Within the block a backward pass appends Σ g² of every parameter to `squares` and keeps no gradient."""
    parameters = dict(model.named_parameters())
    kept = {name: (parameter.requires_grad, parameter.grad) for name, parameter in parameters.items()}
    hooks = []

    def add(parameter: Tensor) -> None:
        assert parameter.grad is not None
        squares.append(parameter.grad.float().square().sum())
        parameter.grad = None

    try:
        for name, parameter in parameters.items():
            parameter.grad = None
            parameter.requires_grad_(parameter.is_floating_point() and ADAPTER_PREFIX not in name)
            if parameter.requires_grad:
                hooks.append(parameter.register_post_accumulate_grad_hook(add))
        yield next(iter(parameters.values())).device
    finally:
        for hook in hooks:
            hook.remove()
        for name, parameter in parameters.items():
            required, gradient = kept[name]
            parameter.requires_grad_(required)
            parameter.grad = gradient
