"""`quantise`: the weights are rounded, as whoever wants to run the model on a small machine rounds them.

Unlearning may change the weights by less than a step of the rounding, and then the rounded model is the original one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from importlib.util import find_spec

import torch
from torch import Tensor

from .attack import Attack, Subject, Variant
from .weights import replaced

#: Weights that share a scale: of int8 and int4, as GPTQ and AWQ have them; of NF4 (QLoRA).
GROUP, NF4_BLOCK = 128, 64
#: NF4's levels (Dettmers et al. 2023, appendix E).
NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip


class Quantise(Attack):
    title = "the weights are rounded to 8 or 4 bits"
    paper = "Zhang et al. 2025 (Catastrophic Failure of LLM Unlearning via Quantization); NF4: Dettmers et al. 2023"
    cost = "a pass over the forget questions for each of 3 roundings"

    def variants(self, subject: Subject) -> Iterator[Variant]:
        for name, rounded in roundings().items():
            yield Variant(name, model=partial(replaced, subject.model, _without_name(rounded)))


def roundings() -> dict[str, Callable[[Tensor], Tensor]]:
    """Name → the weight as it is after rounding, of the same shape; bitsandbytes' own where it is installed."""
    own: dict[str, Callable[[Tensor], Tensor]] = {"int8": int8, "int4": int4, "nf4": nf4}
    return {**own, "bitsandbytes nf4": bitsandbytes_nf4} if find_spec("bitsandbytes") else own


def int8(weight: Tensor) -> Tensor:
    """Round to nearest in 255 levels around 0, by groups of 128 inputs: q = round(w / s), s = max |w| / 127."""
    groups = _groups(weight, GROUP)
    step = groups.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / 127
    return _joined((groups / step).round() * step, weight)


def int4(weight: Tensor) -> Tensor:
    """Round to nearest in 16 levels from the least to the greatest of a group of 128, both of them and 0 included."""
    groups = _groups(weight, GROUP)
    low, high = groups.amin(-1, keepdim=True).clamp(max=0), groups.amax(-1, keepdim=True).clamp(min=0)
    step = (high - low).clamp_min(torch.finfo(torch.float32).tiny) / 15
    zero = (-low / step).round()
    return _joined((((groups / step).round() + zero).clamp(0, 15) - zero) * step, weight)


def nf4(weight: Tensor) -> Tensor:
    """The nearest of NF4's 16 levels, times the greatest |w| of a block of 64 weights in a row."""
    blocks = _groups(weight.reshape(1, -1), NF4_BLOCK)
    scale = blocks.abs().amax(-1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    levels = torch.tensor(NF4, device=weight.device)
    place = torch.bucketize(blocks / scale, (levels[1:] + levels[:-1]) / 2)
    return _joined(levels[place] * scale, weight)


def bitsandbytes_nf4(weight: Tensor) -> Tensor:
    """NF4 by bitsandbytes' own kernels."""
    from bitsandbytes import functional  # type: ignore[import-not-found]  # an optional dependency

    # Flat: on a CPU it takes the scales of other blocks where a row is no whole number of them.
    flat = functional.quantize_4bit(weight.float().reshape(-1), quant_type="nf4", blocksize=NF4_BLOCK)
    return functional.dequantize_4bit(*flat).reshape(weight.shape)


def _groups(weight: Tensor, size: int) -> Tensor:
    """(rows, groups, size) fp32, the last group of a row filled up with zeros."""
    filled = torch.nn.functional.pad(weight.float(), (0, -weight.shape[1] % size))
    return filled.reshape(len(weight), -1, size)


def _joined(groups: Tensor, weight: Tensor) -> Tensor:
    rows = groups.reshape(len(groups), -1)
    return (
        rows[:, : weight.shape[1]]
        if len(rows) == len(weight)
        else rows.flatten()[: weight.numel()].view_as(weight)
    )


def _without_name(rounded: Callable[[Tensor], Tensor]) -> Callable[[str, Tensor], Tensor]:
    return lambda _, weight: rounded(weight)
