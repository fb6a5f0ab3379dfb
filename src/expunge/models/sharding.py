"""A base whose weights are spread over the processes by FSDP2, so that each holds only its part of them.

Only the frozen base is sharded. Adapters are added afterwards: they are small, whole on every process, and the Trainer
averages their gradients. So nothing that is trained, saved, resumed or exported knows of shards.

All processes must make every forward pass together, as each has a part of every block. They do not have equally many
batches, and do not write equally many tokens: so before every pass they agree on the model that runs, and who has
nothing left to do makes passes of no consequence (`passes_of_others`) until all are done.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from weakref import ref

import torch
import torch.distributed
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from .blocks import transformer_blocks


class _Agreement:
    """Which of the sharded models runs next, as all processes agree before every pass."""

    def __init__(self) -> None:
        self.models: list[ref[Any]] = []  # all processes shard them in the same order
        self.accompanying = False
        self.device = torch.device("cpu")

    def announce(self, number: int) -> int:
        """The number of the model that some process wants to run, counted from 1; 0 where all want none."""
        wanted = torch.tensor(number, device=self.device)
        torch.distributed.all_reduce(wanted, op=torch.distributed.ReduceOp.MAX)
        return int(wanted)


_agreement = _Agreement()


def shard(model: Any, device: torch.device) -> None:
    """Freeze `model` and leave on `device` this process's part of its weights, a block at a time; all processes call it
    alike. It computes what it did before."""
    model.requires_grad_(False)
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    parts = [*transformer_blocks(model), *_embeddings(model)]
    for part in parts:  # what is gathered together
        fully_shard(part, mesh=mesh)
    fully_shard(model, mesh=mesh, reshard_after_forward=True)
    # torch's mark, by which transformers would keep processes in step while they generate, in a way of its own.
    model._is_fsdp_managed_module = False
    _agreement.device = device
    _agreement.models.append(ref(model))
    number = len(_agreement.models)

    def agree(_model: Any, _arguments: tuple[Any, ...]) -> None:
        if not _agreement.accompanying:
            _agreement.announce(number)

    model.register_forward_pre_hook(agree, prepend=True)  # before FSDP's own gathers the first weights


def _embeddings(model: Any) -> list[nn.Module]:
    """The input and the output embedding; none where they are one weight, which stays with the rest of the model."""
    both = [model.get_input_embeddings(), model.get_output_embeddings()]
    tied = both[1] is None or both[0].weight is both[1].weight
    return [] if tied else both


def is_sharded(model: nn.Module) -> bool:
    """Whether the base of `model` is sharded."""
    return any(isinstance(module, FSDPModule) for module in model.modules())


def passes_of_others() -> Iterator[Any]:
    """Yield a sharded model for every pass that other processes make and this one does not: who iterates runs it.

    All processes must iterate, after their own passes. Where nothing is sharded there is nothing to yield.
    """
    if not _agreement.models:
        return
    while number := _agreement.announce(0):
        _agreement.accompanying = True
        try:
            yield _agreement.models[number - 1]()
        finally:
            _agreement.accompanying = False


def accompany() -> None:
    """Take part in the forward passes of the processes that still have work; all processes must call it."""
    for model in passes_of_others():
        with torch.no_grad():
            token = torch.zeros(1, 1, dtype=torch.int64, device=_agreement.device)
            model(input_ids=token, attention_mask=token + 1, use_cache=False)


def whole(weight: Tensor) -> Tensor:
    """The whole of a weight that may be sharded; then all processes must call it."""
    return weight.full_tensor() if isinstance(weight, DTensor) else weight
