"""The deliverables: a plain LoRA of rank 2r for the untouched base, or the base with the change merged in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from ..errors import InputError, Problem
from ..models.comparison import difference
from ..models.fingerprint import fingerprint
from ..models.float64 import float64
from ..models.linear import layer_kind, matches
from ..storage import atomic_folder, is_taken
from .anchor import ANCHOR, UNLEARN, adapted_layers
from .origin import origin_on, read_origin
from .weights import CONFIG_FILE, exported_config, read_exported, write_exported


def export_adapter(model: PeftModel, folder: str | Path, *, base_name: str | None = None,
                   revision: str | None = None, beneath: Sequence[str | Path] = ()) -> Path:  # fmt: skip
    """Write the trained change as one LoRA adapter that loads with `PeftModel.from_pretrained(base, folder)`.

    The change s·BA − s·B₀A₀ is a LoRA with the factors [B, −B₀] and [A; A₀]; QR and a small SVD bring it to a
    balanced form of the same rank (2r), because the concatenated form cancels badly in bf16. The scaling is folded
    in (alpha = rank). The folder also carries the fingerprint of the base that it belongs to.

    beneath: exported adapters that had been added to the base's weights before `model` was wrapped, in order

    Raises `InputError` where `folder` holds something else than an adapter.
    """
    folder = Path(folder)
    refuse_foreign(folder, CONFIG_FILE)
    changes = {name: _combined(layer) for name, layer in adapted_layers(model).items()}
    rank = max(len(A) for A, _ in changes.values())
    trained = model.peft_config[UNLEARN]
    base = base_name or trained.base_model_name_or_path
    config = exported_config(
        rank, _shortest_names(model, list(changes)), trained.fan_in_fan_out, base, revision
    )
    origin = origin_on(base, fingerprint(model), [Path(adapter) for adapter in beneath])
    return write_exported(folder, config, changes, origin)


def export_merged(base: Any, tokenizer: Any, adapter: str | Path, folder: str | Path) -> Path:
    """Add the exported adapter to its base and write a model of its own.

    base: the original model as it was loaded, unwrapped; the sum is formed in fp32 and cast once to the base's
          dtype. Its weights are changed in memory.

    Raises `InputError` where the adapter belongs to another base or is damaged, and where `folder` holds something
    else than a model.
    """
    folder = Path(folder)
    refuse_foreign(folder, "config.json")
    wrapped = load_adapter(base, Path(adapter))
    layers = adapted_layers(wrapped)
    changes = {name: layer.get_delta_weight("default").float() for name, layer in layers.items()}
    original = wrapped.unload()
    for name, change in changes.items():
        weight = original.get_submodule(name).weight
        weight.data = (weight.data.float() + change).to(weight.dtype)
    with atomic_folder(folder) as partial:
        original.save_pretrained(str(partial))
        if tokenizer is not None:
            tokenizer.save_pretrained(str(partial))
    return folder


def load_adapter(base: Any, adapter: Path) -> PeftModel:
    """The exported adapter on its base, as plain PEFT loads it.

    Raises `InputError` where it was made for another base than `base`, and where its files are damaged or incomplete.
    """
    origin = read_origin(adapter)
    here = fingerprint(base)
    if differs := difference(origin.fingerprint, here):
        raise InputError(
            Problem(str(adapter),
                    f"it belongs to the base {origin.base!r} with fingerprint {origin.fingerprint}, but "
                    f"this base has fingerprint {here}: {differs}.",
                    "Load the base that the adapter was trained on, in the dtype of its files.")
        )  # fmt: skip
    read_exported(adapter, base)
    return PeftModel.from_pretrained(base, str(adapter))


def refuse_foreign(folder: Path, mark: str) -> None:
    """Refuse a file, and a folder that holds another kind of thing: an export replaces the whole folder."""
    if is_taken(folder) and not (folder / mark).exists():
        raise InputError(
            Problem(
                str(folder), f"it is there already and holds no {mark}.", "Name a new or an empty folder."
            )
        )


def balanced_factors(A: Tensor, B: Tensor) -> tuple[Tensor, Tensor]:
    """The same product BA with orthogonal, equally long factors, of the same rank.

    A (k, d_in), B (d_out, k); computed in float64, returned in fp32. Where k exceeds a side of BA the missing
    directions are zeros, so that the rank stays k.
    """
    rank = len(A)
    A, B = float64(A), float64(B)
    Q_out, R_out = torch.linalg.qr(B)
    Q_in, R_in = torch.linalg.qr(A.T)
    U, S, Vh = torch.linalg.svd(R_out @ R_in.T, full_matrices=False)
    new_B = torch.zeros(len(B), rank, dtype=torch.float64, device=B.device)
    new_A = torch.zeros(rank, A.shape[1], dtype=torch.float64, device=A.device)
    new_B[:, : len(S)] = Q_out @ U * S.sqrt()
    new_A[: len(S)] = S.sqrt()[:, None] * (Vh @ Q_in.T)
    return new_A.float(), new_B.float()


def _combined(layer: Any) -> tuple[Tensor, Tensor]:
    """The change of a LoRA layer as one pair of factors, on the CPU, scaling folded in."""
    A, B = (part[UNLEARN].weight.detach().float() for part in (layer.lora_A, layer.lora_B))
    if ANCHOR in layer.lora_A:
        A = torch.cat([A, layer.lora_A[ANCHOR].weight.detach().float()])
        B = torch.cat([B, -layer.lora_B[ANCHOR].weight.detach().float()], dim=1)
    A, B = balanced_factors(A, layer.scaling[UNLEARN] * B)
    return A.cpu(), B.cpu()


def _shortest_names(model: PeftModel, names: list[str]) -> list[str]:
    """Module endings (as PEFT and vLLM like them) where these name exactly the adapted layers, else full names."""
    base: Any = model.get_base_model()
    endings = sorted({layer_kind(name) for name in names})
    matched = {
        name
        for name, module in base.named_modules()
        if hasattr(module, "weight") or hasattr(module, "base_layer")
        if matches(name, endings) and not name.endswith(".base_layer")
    }
    return endings if matched == set(names) else sorted(names)
