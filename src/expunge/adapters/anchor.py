"""Anchored adapters: y = W x + (s·B A x − s·B₀ A₀ x), so that the base model is never changed.

The wrapped model holds two LoRA adapters: `unlearn` (A, B, trained, starts at A₀, B₀) and `anchor` (A₀, B₀, frozen).
Only `unlearn` is active in PEFT; its forward pass subtracts the anchor's output from its own before either is added
to W x. At step 0 that difference is exactly 0, so the logits are the base's bit for bit in every dtype; adding and
subtracting one after the other would leave the rounding of two additions. With the adapter disabled the model is
the original: the reference policy of NPO, DPO and KL, with no second model in memory. Where B₀ = 0 (LoRA's own
initialisation) there is nothing to anchor.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora.layer import LoraVariant
from safetensors.torch import save_file
from torch import Tensor

from ..intact import RESTORE
from .weights import WEIGHTS_FILE, read_config, read_factors

UNLEARN = "unlearn"
ANCHOR = "anchor"
#: An adapter that was trained on the forget set, for losses that ask what learning more of it would change.
REINFORCED = "reinforced"


def wrap(model: Any, config: LoraConfig) -> PeftModel:
    """Wrap `model` for training; the adapter's B is zero until `place` fills it."""
    config.base_model_name_or_path = getattr(model.config, "_name_or_path", None) or None
    return get_peft_model(model, config, adapter_name=UNLEARN)


class Anchored(LoraVariant):
    """PEFT's extension point for the forward pass of one adapter of a LoRA layer."""

    @staticmethod
    def init(module: Any, adapter_name: str, **kwargs: Any) -> None:
        """There is nothing to make: `place` writes both pairs of factors."""

    @staticmethod
    def forward(module: Any, active_adapter: str, x: Tensor, result: Tensor, **kwargs: Any) -> Tensor:
        trained = module.lora_B[active_adapter](module.lora_A[active_adapter](x))
        start = module.lora_B[ANCHOR](module.lora_A[ANCHOR](x))
        return torch.add(result, trained - start, alpha=module.scaling[active_adapter])

    @staticmethod
    def merge_safe(module: Any, active_adapter: str, orig_weight: Tensor) -> Tensor:
        raise NotImplementedError("An anchored adapter is not merged in place; use expunge.export_adapter.")

    @staticmethod
    def merge_unsafe(module: Any, active_adapter: str, orig_weight: Tensor) -> None:
        raise NotImplementedError("An anchored adapter is not merged in place; use expunge.export_adapter.")


def place(model: PeftModel, factors: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Write A₀, B₀ into `unlearn` and into a new frozen `anchor`.

    factors: {module name in the base model: (A (r, d_in), B (d_out, r))}, for every adapted module
    """
    model.add_adapter(ANCHOR, model.peft_config[UNLEARN])
    base: Any = model.get_base_model()
    for name, (A, B) in factors.items():
        layer = base.get_submodule(name)
        for adapter in (UNLEARN, ANCHOR):
            layer.lora_A[adapter].weight.data.copy_(A)
            layer.lora_B[adapter].weight.data.copy_(B)
        layer.lora_variant[UNLEARN] = Anchored()
    model.set_adapter(UNLEARN)


@contextmanager
def original_model(model: PeftModel) -> Iterator[None]:
    """Within the block the model computes what it did before any adapter."""
    with model.disable_adapter():
        yield


@contextmanager
def reinforced_model(model: PeftModel) -> Iterator[None]:
    """Within the block the model is the original with the adapter `reinforced` in the place of `unlearn`."""
    model.set_adapter(REINFORCED)
    try:
        yield
    finally:
        model.set_adapter(UNLEARN)


def reinforced_config(model: PeftModel) -> LoraConfig:
    """LoRA's own initialisation, on the layers and with the rank and scaling of `unlearn`."""
    return copy.deepcopy(model.peft_config[UNLEARN])


def save_adapter(
    model: PeftModel, folder: Path, state_dict: dict[str, Tensor] | None = None, name: str = UNLEARN
) -> None:
    """Write an adapter (configuration and weights) to `folder`, by default the one that is trained.

    state_dict: of the whole model, where it had to be gathered from several processes
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Otherwise PEFT asks the hub whether the vocabulary has changed, at the newest revision.
    weights = get_peft_model_state_dict(
        model, state_dict=state_dict, adapter_name=name, save_embedding_layers=False
    )
    model.peft_config[name].save_pretrained(str(folder))
    save_file(
        {key: value.detach().cpu().contiguous() for key, value in weights.items()}, folder / WEIGHTS_FILE
    )


def load_weights(model: PeftModel, folder: Path, name: str = UNLEARN, remedy: str = RESTORE) -> None:
    """Read the weights that `save_adapter` wrote into an adapter; the others stay.

    Raises `InputError`, with `remedy`, where they are damaged or not those of this model.
    """
    layers = adapted_layers(model)
    shapes = {path: (layer.out_features, layer.in_features) for path, layer in layers.items()}
    for path, (A, B) in read_factors(folder, model.peft_config[name].r, shapes, remedy).items():
        layers[path].lora_A[name].weight.data.copy_(A)
        layers[path].lora_B[name].weight.data.copy_(B)


def restore(model: Any, folder: Path, reinforced: Path | None = None) -> PeftModel:
    """Wrap `model` as it was at step 0, from the `initial_adapter` folder and, where it is there, `reinforced`.

    Raises `InputError` where a file there is missing or damaged.
    """
    wrapped = wrap(model, read_config(folder))
    load_weights(wrapped, folder)
    factors = {
        name: (layer.lora_A[UNLEARN].weight.data, layer.lora_B[UNLEARN].weight.data)
        for name, layer in adapted_layers(wrapped).items()
    }
    if any(torch.count_nonzero(B) for _, B in factors.values()):
        place(wrapped, factors)
    if reinforced is not None and reinforced.is_dir():
        wrapped.add_adapter(REINFORCED, read_config(reinforced))
        load_weights(wrapped, reinforced, REINFORCED)
        wrapped.set_adapter(UNLEARN)
    return wrapped


def adapted_layers(model: PeftModel) -> dict[str, Any]:
    """{module name in the base model: its LoRA layer}."""
    base: Any = model.get_base_model()
    return {name: module for name, module in base.named_modules() if hasattr(module, "lora_A")}
