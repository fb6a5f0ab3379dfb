"""Catching the inputs and the output gradients of linear layers, while no weight gradient is formed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, Problem
from ..models.modes import evaluating
from ..models.probe import LENGTH, ROWS, by_sample, input_shapes

Observe = Callable[[str, Tensor, Tensor], None]
Mode = Callable[[Any], AbstractContextManager[None]]


def mixed_samples(name: str) -> Problem:
    """The `Problem` of a layer that mixes the samples of a batch."""
    return Problem("adapter.targets", f"the inputs of {name!r} cannot be told apart by sample (as where tokens are "
                   "routed to experts): its importance cannot be measured.",
                   "Leave this layer out, or set adapter.initialization to 'default' or 'pissa'.")  # fmt: skip


def check_layers(model: Any, names: Iterable[str]) -> None:
    """Raise `InputError` for layers whose importance cannot be measured, as far as a pass over text shows."""
    shapes = input_shapes(model) or {}
    problems = [
        mixed_samples(name)
        for name in names
        if name in shapes and by_sample(torch.empty(shapes[name], device="meta"), ROWS, LENGTH) is None
    ]
    if problems:
        raise InputError(problems)


@contextmanager
def captured_gradients(
    model: Any, layers: Mapping[str, nn.Module], observe: Observe, mode: Mode = evaluating
) -> Iterator[None]:
    """Call `observe(name, x, delta)` in the backward pass of every layer.

    x:     (batch, positions, d_in), the layer's input, detached
    delta: (batch, positions, d_out), the gradient of the loss with respect to its output
    A layer may see them in another shape (`models.probe.by_sample`): the model's `input_ids` say how large a batch is.

    Within the block every parameter is frozen, the model is in eval mode (or in that of `mode`), and the outputs of
    the first of the layers ask for a gradient. So the backward pass computes the gradients of activations alone, and
    goes no deeper than to these layers. Everything is put back afterwards, also on an error.
    """
    requires_grad = {parameter: parameter.requires_grad for parameter in model.parameters()}
    batch = _BatchShape()
    hooks = [model.register_forward_pre_hook(batch, with_kwargs=True)]
    hooks += [module.register_forward_hook(_watch(name, observe, batch)) for name, module in layers.items()]
    try:
        with mode(model):
            model.requires_grad_(False)
            yield
    finally:
        for hook in hooks:
            hook.remove()
        for parameter, required in requires_grad.items():
            parameter.requires_grad_(required)


class _BatchShape:
    """(batch, length) of the batch that passes through the model."""

    shape: tuple[int, int] = (0, 0)

    def __call__(self, _model: Any, _arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
        self.shape = tuple(named["input_ids"].shape)


def _watch(
    name: str, observe: Observe, batch: _BatchShape
) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def after_forward(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        rows, length = batch.shape
        x = by_sample(inputs[0].detach(), rows, length)
        if x is None:
            raise InputError(mixed_samples(name))

        def after_backward(delta: Tensor) -> None:
            of_samples = by_sample(delta, rows, length)
            assert of_samples is not None
            with torch.no_grad():
                observe(name, x, of_samples)

        if not output.requires_grad:  # nothing before this layer asks for a gradient
            output = output.requires_grad_(True).clone()  # a copy, because a leaf may not be changed in place
        output.register_hook(after_backward)
        return output

    return after_forward
