"""An adapter's files, `adapter_config.json` and `adapter_model.safetensors`, checked before they are used.

PEFT puts its defaults in the place of settings that are missing, and leaves a layer whose factors are missing as it
is, with a warning at most: the result would be another model than the one that was measured. Here both are refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig
from safetensors.torch import load_file, save_file
from torch import Tensor

from ..intact import RESTORE, broken, read_intact, read_object
from ..models.linear import linear_layers, matches, matrix_shape
from ..storage import atomic_folder
from .origin import CONFIG_FILE, EXPORT_AGAIN, WEIGHTS_FILE, Origin, write_origin

_PREFIX, _A, _B = "base_model.model.", ".lora_A.weight", ".lora_B.weight"
#: Keys that a configuration must have, and their types.
_SETTINGS: dict[str, Any] = {"peft_type": str, "r": int, "lora_alpha": int | float, "target_modules": list}


def weight_names(layer: str) -> tuple[str, str]:
    """The names in the file of A and B of a module of the base model."""
    return f"{_PREFIX}{layer}{_A}", f"{_PREFIX}{layer}{_B}"


def exported_config(
    rank: int, targets: list[str], fan_in_fan_out: bool, base: str | None, revision: str | None
) -> LoraConfig:
    """The configuration of every adapter that expunge exports: a plain LoRA, the scaling folded into its factors."""
    return LoraConfig(
        r=rank,
        lora_alpha=rank,
        target_modules=targets,
        lora_dropout=0.0,
        bias="none",
        fan_in_fan_out=fan_in_fan_out,
        task_type="CAUSAL_LM",
        base_model_name_or_path=base,
        revision=revision,
        inference_mode=True,
    )


def write_exported(
    folder: Path, config: LoraConfig, factors: Mapping[str, tuple[Tensor, Tensor]], origin: Origin
) -> Path:
    """Write an adapter's files as a whole. factors: module name → A (r, d_in), B (d_out, r), fp32, on the CPU"""
    weights: dict[str, Tensor] = {}
    for name, (A, B) in factors.items():
        weights |= zip(weight_names(name), (A.contiguous(), B.contiguous()), strict=True)
    with atomic_folder(folder) as partial:
        write_config(config, partial)
        save_file(weights, partial / WEIGHTS_FILE, metadata={"format": "pt"})
        write_origin(origin, partial)
    return folder


def read_config(adapter: Path, remedy: str = RESTORE) -> LoraConfig:
    """The configuration. Raises `InputError` where it is missing or damaged, lacks a setting, or is not LoRA's."""
    file = adapter / CONFIG_FILE
    content = read_object(file, "the configuration of an adapter", list(_SETTINGS), remedy)
    for setting, kind in _SETTINGS.items():
        value = content[setting]
        if not isinstance(value, kind) or (setting == "r" and value < 1):
            raise broken(file, f"its {setting} is {value!r}", remedy)
    if content["peft_type"] != "LORA":
        raise broken(file, f"its peft_type is {content['peft_type']!r}, not 'LORA'", remedy)
    return LoraConfig.from_pretrained(str(adapter))


def write_config(config: LoraConfig, adapter: Path) -> None:
    """Write it, the same bytes for the same settings: PEFT keeps the targets as a set, whose order is another one in
    every process."""
    if isinstance(config.target_modules, set):
        config.target_modules = sorted(config.target_modules)
    config.save_pretrained(str(adapter))


def read_factors(
    adapter: Path, rank: int, shapes: Mapping[str, tuple[int, int]] | None = None, remedy: str = RESTORE
) -> dict[str, tuple[Tensor, Tensor]]:
    """Module name → A (r, d_in), B (d_out, r), on the CPU.

    shapes: module name → (d_out, d_in) of every layer that there has to be; None where no model is there to tell

    Raises `InputError` where the file is missing or damaged, or a factor of it is missing, too many, or of another
    shape.
    """
    file = adapter / WEIGHTS_FILE
    tensors = read_intact(load_file, file, remedy)
    held = {key.removeprefix(_PREFIX).removesuffix(_A).removesuffix(_B) for key in tensors}
    if shapes is not None and (strange := sorted(held - shapes.keys())):
        raise broken(file, f"it holds {strange[0]}, which is no layer that {CONFIG_FILE} names", remedy)
    factors = {}
    for name in sorted(held if shapes is None else shapes):
        keys = weight_names(name)
        if missing := [key for key in keys if key not in tensors]:
            raise broken(file, f"it lacks {missing[0]}", remedy)
        A, B = (tensors[key] for key in keys)
        d_out, d_in = (B.numel() // rank, A.numel() // rank) if shapes is None else shapes[name]
        for key, shape in zip(keys, ((rank, d_in), (d_out, rank)), strict=True):
            if tensors[key].shape != shape:
                there = tuple(tensors[key].shape)
                raise broken(file, f"its {key} has the shape {there}, not {shape}", remedy)
        factors[name] = (A, B)
    return factors


def read_exported(adapter: Path, model: Any = None) -> tuple[LoraConfig, dict[str, tuple[Tensor, Tensor]]]:
    """Configuration and factors (see `read_factors`) of an adapter that expunge exported; its scaling is 1.

    model: the base, unwrapped, where it is there to tell which layers the configuration names

    Raises `InputError` where a file is missing, damaged or incomplete, or belongs to another model.
    """
    config = read_config(adapter, EXPORT_AGAIN)
    if config.lora_alpha != config.r:
        reason = f"its lora_alpha is {config.lora_alpha}, but its r is {config.r}"
        raise broken(adapter / CONFIG_FILE, reason, EXPORT_AGAIN)
    shapes = None
    if model is not None:
        endings = list(config.target_modules or ())
        layers = linear_layers(model).items()
        shapes = {name: matrix_shape(module) for name, module in layers if matches(name, endings)}
    return config, read_factors(adapter, config.r, shapes, EXPORT_AGAIN)
