"""From row importances to a wrapped model whose adapter holds what the forget set uses."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from peft import LoraConfig, PeftModel
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

from ..errors import InputError, Problem
from ..models.linear import linear_layers, matrix_shape, refuse_shared, target_layers, weight_matrix
from ..models.seeds import seed_for
from ..models.settings import ALL_LINEAR
from .anchor import UNLEARN, place, wrap
from .low_rank import weighted_low_rank

#: (W, d, rank, s, seed) → (A, B)
Decomposition = Callable[[Tensor, Tensor, int, float, int], tuple[Tensor, Tensor]]


def attach_adapter(
    model: Any,
    importance: Mapping[str, Tensor] | None = None,
    *,
    directions: Mapping[str, Tensor] | None = None,
    rank: int = 8,
    alpha: float = 16,
    targets: str | Sequence[str] = ALL_LINEAR,
    layers: float = 1.0,
    seed: int = 0,
    low_rank: Decomposition = weighted_low_rank,
) -> PeftModel:
    """Wrap `model` with an anchored LoRA adapter; its outputs do not change.

    importance: {module name: d (d_out,)} from `measure_importance`, or from `uniform_importance` for PiSSA's
                initialisation; None for LoRA's own (A random, B zero: no anchor is needed). Where it is given, its
                module names are the targets.
    directions: {module name: A (rank, d_in)} from `input_directions`, in place of an importance; B is zero. Its module
                names are the targets.
    alpha:      the adapter is scaled by s = alpha / rank
    seed:       of A, or of the randomised decompositions; a layer's random numbers follow from it and its name
    low_rank:   how W and d become A₀ and B₀

    Returns a PeftModel with a trainable adapter `unlearn` and, unless B₀ = 0, a frozen `anchor`.
    Raises `InputError` where an importance does not fit its layer.
    """
    if directions is not None:
        modules = _named_layers(model, directions, lambda d_out, d_in: (rank, d_in))
    elif importance is not None:
        modules = _named_layers(model, importance, lambda d_out, d_in: (d_out,))
    else:
        modules = target_layers(model, targets, layers)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        target_modules=sorted(modules),
        lora_dropout=0.0,
        bias="none",
        fan_in_fan_out=any(isinstance(module, Conv1D) for module in modules.values()),
        task_type="CAUSAL_LM",
    )
    if importance is None:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            wrapped = wrap(model, config)
        for name, A in (directions or {}).items():
            layer: Any = wrapped.get_base_model().get_submodule(name)
            layer.lora_A[UNLEARN].weight.data.copy_(A)
        return wrapped
    scaling = alpha / rank
    factors = {
        name: low_rank(
            weight_matrix(module),
            importance[name].to(_device(module)),
            rank,
            scaling,
            seed_for(seed, name, "decomposition"),
        )
        for name, module in modules.items()
    }
    wrapped = wrap(model, config)
    place(wrapped, factors)
    return wrapped


def uniform_importance(
    model: Any, targets: str | Sequence[str] = ALL_LINEAR, layers: float = 1.0
) -> dict[str, Tensor]:
    """Every row counts the same: the unweighted SVD of PiSSA (Meng et al. 2024)."""
    modules = target_layers(model, targets, layers)
    return {name: torch.ones(matrix_shape(module)[0]) for name, module in modules.items()}


def _named_layers(
    model: Any, importance: Mapping[str, Tensor], shape_of: Callable[[int, int], tuple[int, ...]]
) -> dict[str, nn.Module]:
    """The layers that were measured. shape_of: (d_out, d_in) of a layer → the shape of its measurement"""
    layers = linear_layers(model)
    problems = []
    if not importance:
        problems.append(Problem("importance", "it is of no layer.", "Measure it anew."))
    for name, weights in importance.items():
        if name not in layers:
            problems.append(Problem("importance", f"this model has no linear layer {name!r}.",
                                    "Measure it on the model that the adapter is for."))  # fmt: skip
        elif weights.shape != (wanted := shape_of(*matrix_shape(layers[name]))):
            problems.append(Problem(f"importance of {name}", f"it has shape {tuple(weights.shape)}, not {wanted}.",
                                    "Measure it on the model that the adapter is for."))  # fmt: skip
    if problems:
        raise InputError(problems)
    measured = {name: layers[name] for name in importance}
    refuse_shared(model, measured)
    return measured


def _device(module: nn.Module) -> torch.device:
    return next(module.parameters()).device
