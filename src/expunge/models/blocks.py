"""The transformer blocks of a model, and what flows out of one of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from ..errors import InputError, Problem


def transformer_blocks(model: nn.Module) -> nn.ModuleList:
    """The list of blocks: of all lists of modules the one that holds the most parameters."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    return max(lists, key=lambda blocks: sum(parameter.numel() for parameter in blocks.parameters()))


def check_block(model: nn.Module, layer: int) -> None:
    """Raise `InputError` where the model has no block `layer`, counted from 0."""
    count = len(transformer_blocks(model))
    if not 0 <= layer < count:
        raise InputError(
            Problem("objective.layer", f"there is no block {layer}; the model has {count}, counted from 0.",
                    f"Use 0 to {count - 1}.")
        )  # fmt: skip


@contextmanager
def block_outputs(model: nn.Module, layer: int) -> Iterator[list[Tensor]]:
    """Yield a list. Every forward pass within the block of code adds its hidden states (batch, length, d) after the
    transformer block `layer`."""
    states: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)

    hook = transformer_blocks(model)[layer].register_forward_hook(keep)
    try:
        yield states
    finally:
        hook.remove()


@contextmanager
def replaced_output(model: nn.Module, layer: int, positions: Tensor, states: Tensor) -> Iterator[None]:
    """Within the block of code a forward pass goes on after the transformer block `layer` with other hidden states at
    some positions (activation patching).

    positions: (batch, length) bool; states: (N, d), those of the N positions in reading order
    """

    def replace(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        hidden = output[0] if isinstance(output, tuple) else output
        hidden = hidden.clone()
        hidden[positions] = states.to(hidden)
        return (hidden, *output[1:]) if isinstance(output, tuple) else hidden

    hook = transformer_blocks(model)[layer].register_forward_hook(replace)
    try:
        yield
    finally:
        hook.remove()
