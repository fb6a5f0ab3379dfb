"""The linear layers of a model: which there are, which a recipe means, and their weights in one orientation."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from peft import LoraConfig
from peft.tuners.tuners_utils import _check_lora_target_modules_mamba
from peft.utils.integrations import dequantize_module_weight
from peft.utils.transformers_weight_conversion import convert_peft_config_for_transformers
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..errors import InputError, Problem, nearest
from .probe import never_called
from .settings import ALL_LINEAR
from .sharding import whole

#: Names of the projections in the models of transformers; fused projections count for all their parts.
_QUERY = ("q_proj", "query", "c_attn", "query_key_value", "qkv_proj", "Wqkv")
_KEY = ("k_proj", "key", "c_attn", "query_key_value", "qkv_proj", "Wqkv")
_VALUE = ("v_proj", "value", "c_attn", "query_key_value", "qkv_proj", "Wqkv")
_FEED_FORWARD = ("gate_proj", "up_proj", "down_proj", "gate_up_proj", "fc1", "fc2", "fc_in", "fc_out",
                 "dense_h_to_4h", "dense_4h_to_h", "c_fc", "mlp.c_proj")  # fmt: skip
_ATTENTION_OUTPUT = ("o_proj", "out_proj", "attn.c_proj", "attention.dense",
                     "self_attn.dense", "self_attention.dense")  # fmt: skip

#: Named choices of layers (`adapter.targets`); LoKU figure 4 compares them.
TARGETS: dict[str, tuple[str, ...]] = {
    "q_v": _QUERY + _VALUE,
    "qkvo": _QUERY + _KEY + _VALUE + _ATTENTION_OUTPUT,
    "ffn": _FEED_FORWARD,
    "q_v_ffn": _QUERY + _VALUE + _FEED_FORWARD,
}


class Unreached(NamedTuple):
    """A weight that no adapter reaches: how many parameters it has, and why none reaches it."""

    parameters: int
    reason: str


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """Every linear layer (Linear, its quantised forms, GPT-2's Conv1D) but the output embedding, by name."""
    embeddings: Any = getattr(model, "get_output_embeddings", lambda: None)
    output = embeddings()
    return {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear | Conv1D) and module is not output
    }


def target_layers(
    model: nn.Module, targets: str | Sequence[str] = ALL_LINEAR, layers: float = 1.0
) -> dict[str, nn.Module]:
    """The linear layers that a recipe means.

    targets: `all-linear`, a name from `TARGETS`, or a list of module names or their endings
    layers:  the share of the transformer blocks, counted from the first (VILA's ablation: 0.25 … 1.0)

    Those that cannot be adapted are left out: `unreached` says which and why.

    Raises `InputError` where a name matches nothing that can be adapted, or where a target shares its weight with
    another module.
    """
    if targets != ALL_LINEAR and (not isinstance(targets, str) or targets not in TARGETS):
        _check_endings(linear_layers(model), _endings(targets))
    selected = _selected(model, targets, layers)
    if not selected:
        others = sorted({layer_kind(name) for name in _outside_layers(model, targets, layers)})
        beside = f", but {' and '.join(others)}, which no adapter reaches" if others else ""
        raise InputError(
            Problem(
                "adapter.targets",
                f"{targets!r} matches no linear layer of this model"
                f"{f' in the first {layers:.0%} of its blocks' if layers < 1 else ''}"
                f"{beside}.",
                "Use 'all-linear'." if layers == 1 else "Use 'all-linear', or more adapter.layers.",
            )
        )
    for name in _left_out(model, selected, targets):
        del selected[name]
    if not selected:
        raise InputError(
            Problem("adapter.targets", f"none of the layers that {targets!r} names can be adapted: no pass over text "
                    "calls them, or PEFT has no LoRA for them.",
                    "Use 'all-linear', or name layers of the part that reads text.")
        )  # fmt: skip
    refuse_shared(model, selected)
    return selected


def unreached(
    model: nn.Module, targets: str | Sequence[str] = ALL_LINEAR, layers: float = 1.0
) -> dict[str, Unreached]:
    """Every weight that `targets` and `layers` promise and that no adapter reaches, by the parameter's name.

    Such are the linear layers that a pass over text does not call, those that PEFT cannot adapt and, where all layers
    are meant, gates of one row; the experts of a sparse model, which transformers keeps in one parameter of three
    dimensions, and the routers before them. Embeddings, convolutions and biases are nobody's target.
    """
    selected = _selected(model, targets, layers)
    return {
        f"{name}.weight": Unreached(math.prod(matrix_shape(selected[name])), why)
        for name, why in _left_out(model, selected, targets).items()
    } | {
        name: Unreached(weight.numel(), "no linear layer")
        for name, weight in _outside_layers(model, targets, layers).items()
    }


def _left_out(
    model: nn.Module, selected: Mapping[str, nn.Module], targets: str | Sequence[str]
) -> dict[str, str]:
    """{name: why} for the selected linear layers that cannot be adapted."""
    why = {name: "a gate of one row" for name, module in selected.items()
           if targets == ALL_LINEAR and matrix_shape(module)[0] == 1}  # fmt: skip
    why |= {name: "PEFT has no LoRA for it here" for name in selected if not _peft_reaches(model, name)}
    return why | dict.fromkeys(never_called(model, selected), "no pass over text calls it")


def _peft_reaches(model: Any, name: str) -> bool:
    """Whether PEFT places a LoRA layer at this name. It takes some names for experts that transformers 5 has fused, and
    it refuses Mamba's last projection, of which only the weight is read."""
    if getattr(getattr(model, "config", None), "model_type", None) is None:
        return True
    config = LoraConfig(target_modules=[name])
    try:
        convert_peft_config_for_transformers(config, model, None)
        _check_lora_target_modules_mamba(config, model, name.rpartition(".")[2])
    except ValueError:
        return False
    return name in (config.target_modules or ())


def _selected(model: nn.Module, targets: str | Sequence[str], layers: float) -> dict[str, nn.Module]:
    """The linear layers that the recipe means, whether PEFT can adapt them or not."""
    selected = linear_layers(model)
    kept = _kept_blocks(selected, layers)
    if targets != ALL_LINEAR:
        selected = {name: module for name, module in selected.items() if matches(name, _endings(targets))}
    if kept is not None:
        selected = {name: module for name, module in selected.items() if block_index(name) in kept}
    return selected


def _endings(targets: str | Sequence[str]) -> tuple[str, ...]:
    """The endings of the layer names that `targets` means; `targets` is not `all-linear`."""
    return TARGETS.get(targets, (targets,)) if isinstance(targets, str) else tuple(targets)


def _outside_layers(model: nn.Module, targets: str | Sequence[str], layers: float) -> dict[str, nn.Parameter]:
    """The weights that the targets also name but that no linear layer holds."""
    linear = linear_layers(model)
    kept = _kept_blocks(linear, layers)
    weights = {}
    for owner, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D | nn.Embedding | nn.modules.conv._ConvNd):
            continue
        for name, parameter in module.named_parameters(owner, recurse=False):
            meant = _is_layer_weight(name, parameter) and _is_meant(name, parameter, targets)
            if meant and (kept is None or block_index(name) in kept):
                weights[name] = parameter
    return weights


def _is_layer_weight(name: str, parameter: nn.Parameter) -> bool:
    if parameter.ndim < 2 or name.endswith("bias"):
        return False
    return parameter.ndim > 2 or name.endswith("weight") or _is_of_experts(name)


def _is_meant(name: str, parameter: nn.Parameter, targets: str | Sequence[str]) -> bool:
    if targets == ALL_LINEAR:
        return True
    endings = _endings(targets)
    feed_forward = set(_FEED_FORWARD) <= set(endings)
    experts = parameter.ndim > 2 or _is_of_experts(name)
    return (feed_forward and experts) or matches(name.removesuffix(".weight"), endings)


def _is_of_experts(name: str) -> bool:
    return "experts" in name.split(".")


def _kept_blocks(linear: Iterable[str], layers: float) -> set[int] | None:
    """The blocks that a share means, of those with linear layers; None means all blocks and the layers outside them."""
    if layers >= 1.0:
        return None
    blocks = sorted({index for name in linear if (index := block_index(name)) is not None})
    return set(blocks[: max(1, round(layers * len(blocks)))])


def block_index(name: str) -> int | None:
    """The number of the transformer block that a module name belongs to: the first number in the name."""
    match = re.search(r"\.(\d+)\.", name)
    return int(match.group(1)) if match else None


def layer_kind(name: str) -> str:
    """A module name without its block: `model.layers.3.mlp.up_proj` → `mlp.up_proj`."""
    return re.sub(r"^.*?\.\d+\.", "", name)


def weight_matrix(module: nn.Module) -> Tensor:
    """The weight as (d_out, d_in) fp32: Conv1D transposed, a quantised one dequantised, a sharded one gathered."""
    kept = module.weight
    weight = whole(dequantize_module_weight(module).detach())
    if module.weight is not kept:  # on a CPU PEFT puts a copy there, and bitsandbytes then misses its scales
        module.weight = kept
    weight = weight.T if isinstance(module, Conv1D) else weight
    return weight.to(torch.float32)


def matrix_shape(module: nn.Module) -> tuple[int, int]:
    """(d_out, d_in), also on the meta device."""
    if isinstance(module, Conv1D):
        return int(module.weight.shape[1]), int(module.weight.shape[0])
    linear: Any = module
    return int(linear.out_features), int(linear.in_features)


def matches(name: str, endings: Sequence[str]) -> bool:
    """Whether one of `endings` is the module's name or the end of it."""
    return any(name == ending or name.endswith(f".{ending}") for ending in endings)


def _check_endings(linear: Mapping[str, nn.Module], endings: Sequence[str]) -> None:
    known = {layer_kind(name) for name in linear} | {name.rpartition(".")[2] for name in linear}
    problems = [
        Problem("adapter.targets", f"{ending!r} is no linear layer of this model.",
                nearest(ending, known | set(TARGETS) | {ALL_LINEAR}))
        for ending in endings
        if not any(matches(name, [ending]) for name in linear)
    ]  # fmt: skip
    if problems:
        raise InputError(problems)


def refuse_shared(model: nn.Module, selected: Mapping[str, nn.Module]) -> None:
    """Raise `InputError` where one of the selected layers shares its weight with another module."""
    owners: dict[int, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        weight = getattr(module, "weight", None)
        if isinstance(weight, nn.Parameter):
            owners.setdefault(id(weight), []).append(name)
    problems = [
        Problem("adapter.targets", f"{name!r} shares its weight with {' and '.join(set(shared) - {name})}.",
                "Leave it out: an adapter would change only one of them.")
        for name, module in selected.items()
        if len(shared := owners.get(id(module.weight), [])) > 1
    ]  # fmt: skip
    if problems:
        raise InputError(problems)
