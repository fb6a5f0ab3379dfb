"""Adapters on top of one another: every one was trained on the model that the ones before it had left.

Their changes are added to the base's weights in memory; the base's files stay as they are. The user can leave
any of them out: that rolls its request back. The later ones were trained with it in place, so only a measurement tells
what they do without it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.pytorch_utils import Conv1D

from ..errors import InputError, Problem
from ..models.comparison import difference
from ..models.fingerprint import fingerprint
from ..models.float64 import float64
from ..progress import say
from .export import balanced_factors, refuse_foreign
from .origin import Origin, identity, origin_on, read_origin
from .weights import CONFIG_FILE, exported_config, read_exported, write_exported

KEY = "model.adapters"


def read_origins(adapters: Sequence[str | Path]) -> list[Origin]:
    """The adapters' origins. Raises `InputError` with every folder that holds no exported adapter."""
    origins, problems = [], []
    for adapter in adapters:
        try:
            origins.append(read_origin(Path(adapter), KEY))
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return origins


def add_adapters(model: Any, adapters: Sequence[str | Path]) -> None:
    """Add the changes of exported adapters to the weights of `model`, W + Σ BA, in memory.

    The sum is formed in float64 and rounded once, by way of fp32: so the fingerprint of the result is the same on
    every device, and for a base that was loaded in fp32 or in bf16.

    Raises `InputError`, naming both fingerprints, where an adapter belongs to another base, or was not trained on
    the adapters before it in this order, and where its files are damaged. Leaving one out is no mistake; the
    user is told.
    """
    folders = [Path(adapter) for adapter in adapters]
    origins = read_origins(folders)
    identities = [identity(folder) for folder in folders]
    original = fingerprint(model)
    for number, (folder, origin) in enumerate(zip(folders, origins, strict=True)):
        before = identities[:number]
        if not difference(origin.original, original) and _is_part(before, origin.beneath):
            if missing := len(origin.beneath) - number:
                say(
                    f"Left out beneath {folder}: {missing} adapter{'s' * (missing > 1)} that it was trained on"
                )
            continue
        _add(model, folders[:number])
        raise InputError(
            Problem(f"{KEY}: {folder}",
                    f"it was trained on a model with fingerprint {origin.fingerprint}, but the model before it has "
                    f"fingerprint {fingerprint(model)}.",
                    "Name the base that it belongs to, and the adapters in the order in which they were made.")
        )  # fmt: skip
    _add(model, folders)


def combine_adapters(
    adapters: Sequence[str | Path], folder: str | Path, *, base_name: str | None = None,
    revision: str | None = None,
) -> Path:  # fmt: skip
    """Write the sum of the changes of exported adapters as one, which loads on the original base with plain PEFT.

    Its rank is the sum of their ranks: the factors are concatenated, and brought to a balanced form of that rank by
    QR and a small SVD in float64. Raises `InputError` where they belong to different bases, or a file is damaged.
    """
    folder, folders = Path(folder), [Path(adapter) for adapter in adapters]
    refuse_foreign(folder, CONFIG_FILE)
    origins = read_origins(folders)
    for place, origin in zip(folders, origins, strict=True):
        if difference(origin.original, origins[0].original):
            raise InputError(
                Problem(str(place), f"it belongs to the base with fingerprint {origin.original}, but the first one "
                        f"to that with fingerprint {origins[0].original}.", "Combine adapters of one base.")
            )  # fmt: skip
    configs, loaded = zip(*(read_exported(place) for place in folders), strict=True)
    names = sorted({name for factors in loaded for name in factors})
    rank = sum(config.r for config in configs)
    factors_of = {}
    for name in names:
        parts = [factors[name] for factors in loaded if name in factors]
        A = torch.cat([A for A, _ in parts])
        B = torch.cat([B for _, B in parts], dim=1)
        missing = rank - len(A)  # PEFT reads one rank for all layers
        A = torch.cat([A, A.new_zeros(missing, A.shape[1])])
        B = torch.cat([B, B.new_zeros(len(B), missing)], dim=1)
        factors_of[name] = balanced_factors(A, B)
    targets = [config.target_modules for config in configs]
    alike = all(modules == targets[0] for modules in targets)
    base = base_name or origins[0].base
    modules = list(targets[0]) if alike else names
    config = exported_config(rank, modules, configs[0].fan_in_fan_out, base, revision)
    return write_exported(folder, config, factors_of, origin_on(base, origins[0].original, ()))


def _is_part(these: Sequence[str], of: Iterable[str]) -> bool:
    """Whether `these` are among `of`, in the same order."""
    rest = iter(of)
    return all(any(one == other for other in rest) for one in these)


def _add(model: Any, folders: Sequence[Path]) -> None:
    changes: dict[str, list[tuple[Tensor, Tensor]]] = {}
    for folder in folders:
        for name, factors in read_exported(folder, model)[1].items():
            changes.setdefault(name, []).append(factors)
    for name, parts in changes.items():
        module = model.get_submodule(name)
        weight = module.weight
        total = float64(weight.detach())
        for A, B in parts:
            change = float64(B.to(weight.device)) @ float64(A.to(weight.device))
            total = total + (change.T if isinstance(module, Conv1D) else change)
        with torch.no_grad():
            weight.copy_(total.float())
