"""Catching what flows into and back out of linear layers, while no weight gradient is formed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..models.modes import evaluating

Observe = Callable[[str, Tensor, Tensor], None]


@contextmanager
def captured_gradients(model: Any, layers: Mapping[str, nn.Module], observe: Observe) -> Iterator[None]:
    """Call `observe(name, x, delta)` in the backward pass of each layer.

    x:     (batch, length, d_in), the layer's input, detached
    delta: (batch, length, d_out), the gradient of the loss with respect to its output

    Within the block every parameter is frozen, the model is in eval mode, and the input embeddings' output asks
    for a gradient, so that the backward pass computes the gradients of activations alone. Everything is put back
    afterwards, also on an error.
    """
    requires_grad = {parameter: parameter.requires_grad for parameter in model.parameters()}
    hooks = [
        model.get_input_embeddings().register_forward_hook(
            lambda _module, _inputs, output: output.requires_grad_(True)
        )
    ]
    hooks += [module.register_forward_hook(_watch(name, observe)) for name, module in layers.items()]
    try:
        with evaluating(model):
            model.requires_grad_(False)
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, required in requires_grad.items():
            parameter.requires_grad_(required)


def _watch(name: str, observe: Observe) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def after_forward(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        x = inputs[0].detach()
        if x.ndim != 3:
            raise ValueError(
                f"{name} gets an input of shape {tuple(x.shape)}, not (batch, length, width): its gradient cannot "
                "be told apart by sample. Leave this layer out of adapter.targets."
            )

        def after_backward(delta: Tensor) -> None:
            with torch.no_grad():
                observe(name, x, delta)

        output.register_hook(after_backward)

    return after_forward
