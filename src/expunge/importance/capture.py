"""Catching what flows into and back out of linear layers, while no weight gradient is formed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..models.modes import evaluating

Observe = Callable[[str, Tensor, Tensor], None]
Mode = Callable[[Any], AbstractContextManager[None]]


@contextmanager
def captured_gradients(
    model: Any, layers: Mapping[str, nn.Module], observe: Observe, mode: Mode = evaluating
) -> Iterator[None]:
    """Call `observe(name, x, delta)` in the backward pass of each layer.

    x:     (batch, length, d_in), the layer's input, detached
    delta: (batch, length, d_out), the gradient of the loss with respect to its output

    Within the block every parameter is frozen, the model is in eval mode (or in that of `mode`), and the outputs of
    the first of the layers ask for a gradient. So the backward pass computes the gradients of activations alone, and
    goes no deeper than to these layers. Everything is put back afterwards, also on an error.
    """
    requires_grad = {parameter: parameter.requires_grad for parameter in model.parameters()}
    hooks = [module.register_forward_hook(_watch(name, observe)) for name, module in layers.items()]
    try:
        with mode(model):
            model.requires_grad_(False)
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, required in requires_grad.items():
            parameter.requires_grad_(required)


def _watch(name: str, observe: Observe) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def after_forward(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        x = inputs[0].detach()
        if x.ndim != 3:
            raise ValueError(
                f"{name} gets an input of shape {tuple(x.shape)}, not (batch, length, width): its gradient cannot "
                "be told apart by sample. Leave this layer out of adapter.targets."
            )

        def after_backward(delta: Tensor) -> None:
            with torch.no_grad():
                observe(name, x, delta)

        if not output.requires_grad:  # nothing before this layer asks for a gradient
            output = output.requires_grad_(True).clone()  # a copy, because a leaf may not be changed in place
        output.register_hook(after_backward)
        return output

    return after_forward
