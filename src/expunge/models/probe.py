"""The layers that a pass over text calls. Some models carry layers that it never reaches, or with other inputs."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from .modes import evaluating

#: The batch and the length of the pass.
ROWS, LENGTH = 2, 5

#: Model → result of `input_shapes`.
_known: WeakIdKeyDictionary = WeakIdKeyDictionary()


def input_shapes(model: nn.Module) -> dict[str, tuple[int, ...]] | None:
    """{module name: shape of its input} for the modules that a pass over `ROWS` texts of `LENGTH` tokens calls.

    It makes one small forward pass, once for a model, also on the meta device. None where the model does not run so:
    some models look at numbers that a model without content does not have.
    """
    if model not in _known:
        _known[model] = _input_shapes(model)
    return _known[model]


def never_called(model: nn.Module, names: Iterable[str]) -> list[str]:
    """The modules that no pass over text calls: they are of a vision or audio tower, or only their weight is read.

    Only texts that are routed to an expert call it. So it counts as called where any sibling is: a module of the same
    name but for the numbers in it.
    """
    shapes = input_shapes(model)
    if shapes is None:
        return []
    kinds = {_without_numbers(name) for name in shapes}
    return [name for name in names if _without_numbers(name) not in kinds]


def by_sample(values: Tensor, rows: int, length: int) -> Tensor | None:
    """(rows, positions, width) from a layer's input or output; None where the rows cannot be told apart.

    (rows, length, width) as it is; (rows · length, width), as OPT and routers flatten it; (rows, …, width), as
    DeepSeek's attention spreads it.
    """
    if values.ndim == 3 and values.shape[0] == rows:
        return values
    if values.ndim == 2 and values.shape[0] == rows * length:
        return values.unflatten(0, (rows, length))
    if values.ndim > 3 and values.shape[0] == rows:
        return values.flatten(1, -2)
    return None


def _without_numbers(name: str) -> str:
    return re.sub(r"\d+", "*", name)


def _input_shapes(model: nn.Module) -> dict[str, tuple[int, ...]] | None:
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> Any:
        def before_forward(_module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if inputs and isinstance(inputs[0], Tensor):
                shapes[name] = tuple(inputs[0].shape)

        return before_forward

    hooks = [
        module.register_forward_pre_hook(note(name))
        for name, module in model.named_modules()
        if hasattr(module, "weight")
    ]
    try:
        caller: Any = model
        device = caller.get_input_embeddings().weight.device
        # Different tokens, so that not all are routed to one expert.
        ids = (torch.arange(ROWS * LENGTH) % caller.config.get_text_config().vocab_size).view(ROWS, LENGTH)
        with evaluating(model), torch.no_grad():
            caller(input_ids=ids.to(device), use_cache=False)  # with a mask some look at its numbers
    except (NotImplementedError, RuntimeError, TypeError, AttributeError, ValueError):
        return None
    finally:
        for hook in hooks:
            hook.remove()
    return shapes
