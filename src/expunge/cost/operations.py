"""Counts the work of a computation on tensors without content: it takes no memory and computes nothing.

The model runs as it will, its hooks, adapters and backward pass included, on the meta device (shapes and dtypes alone);
a dispatch mode sees every kernel. So the counts hold for any architecture, and nothing is derived by hand.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry, sdpa_backward_flop_count, sdpa_flop_count

#: Kernels that only describe memory anew, beside those that torch itself marks as views.
_FREE = ("_unsafe_view", "_reshape_alias", "lift_fresh", "device")


@dataclass(frozen=True)
class Work:
    """The work that a device has to do.

    flops:   operations of matrix products and attention, two a multiply-add
    moved:   bytes that kernels read and write
    kernels: number of kernels
    peak:    bytes alive at the highest, of what the computation itself allocates
    beyond:  seconds that this device took more (or fewer) in a trial than these figures predict
    """

    flops: float = 0.0
    moved: float = 0.0
    kernels: float = 0.0
    peak: float = 0.0
    beyond: float = 0.0

    def __add__(self, other: Work) -> Work:
        """The work of both, one after the other."""
        return Work(
            self.flops + other.flops,
            self.moved + other.moved,
            self.kernels + other.kernels,
            max(self.peak, other.peak),
            self.beyond + other.beyond,
        )

    def times(self, number: float) -> Work:
        """The same work, done `number` times."""
        return Work(
            self.flops * number,
            self.moved * number,
            self.kernels * number,
            self.peak,
            self.beyond * number,
        )

    def of_depth(self, deeper: Work, depth: int) -> Work:
        """The work of a model of `depth` equal blocks, where this is the work with one block and `deeper` with two."""
        return Work(
            *(
                one + (depth - 1) * (two - one)
                for one, two in (
                    (self.flops, deeper.flops),
                    (self.moved, deeper.moved),
                    (self.kernels, deeper.kernels),
                    (self.peak, deeper.peak),
                    (self.beyond, deeper.beyond),
                )
            )
        )


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.flops = self.moved = self.kernels = self.alive = self.peak = 0.0
        self._storages: weakref.WeakKeyDictionary[Any, int] = weakref.WeakKeyDictionary()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        packet = function._overloadpacket
        if function.is_view or packet.__name__ in _FREE:
            return result
        tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, Tensor)]
        self.kernels += 1
        self.moved += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        self.flops += _flops(packet, args, kwargs, result)
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor):
                self._born(leaf.untyped_storage())
        return result

    def _born(self, storage: torch.UntypedStorage) -> None:
        if storage in self._storages:
            return
        size = storage.nbytes()
        self._storages[storage] = size
        self.alive += size
        self.peak = max(self.peak, self.alive)
        weakref.finalize(storage, self._died, size)

    def _died(self, size: int) -> None:
        self.alive -= size


def _flops(packet: Any, args: Any, kwargs: Any, result: Any) -> float:
    if packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu:
        return float(sdpa_flop_count(*(tensor.shape for tensor in args[:3])))
    if packet is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return float(sdpa_backward_flop_count(*(tensor.shape for tensor in args[:4])))
    return float(flop_registry[packet](*args, **kwargs, out_val=result)) if packet in flop_registry else 0.0


class Counted:
    """The work of a block of `counted`, which fills it in when the block has ended."""

    work = Work()


@contextmanager
def counted() -> Iterator[Counted]:
    """Count what the block does to tensors on the meta device."""
    counts = Counted()
    with _FusedAttention(), _Counter() as counter:
        yield counts
    counts.work = Work(counter.flops, counter.moved, counter.kernels, counter.peak)


class AutocastOnMeta(TorchFunctionMode):
    """Stands in for `torch.autocast`, which does not know the meta device: products take fp32 in as `dtype`."""

    _products = (torch.nn.functional.linear, torch.addmm, torch.nn.functional.scaled_dot_product_attention)

    def __init__(self, dtype: torch.dtype):
        super().__init__()
        self.dtype = dtype

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in self._products:
            args, kwargs = tree_map_only(Tensor, self._cast, (args, kwargs))
        return function(*args, **(kwargs or {}))

    def _cast(self, tensor: Tensor) -> Tensor:
        return tensor.to(self.dtype) if tensor.dtype == torch.float32 else tensor


class _FusedAttention(TorchFunctionMode):
    """Attention without a matrix of scores that lasts, as CPUs and GPUs compute it; on meta torch would form it."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        if function is not torch.nn.functional.scaled_dot_product_attention:
            return function(*args, **kwargs)
        query, key, value = args[:3]
        groups = query.shape[1] // key.shape[1]
        if groups > 1:
            key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
        return torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            query,
            key,
            value,
            attn_mask=kwargs.get("attn_mask"),
            is_causal=kwargs.get("is_causal", False),
            scale=kwargs.get("scale"),
        )[0]
