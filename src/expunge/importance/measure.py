"""One pass over the forget set and one over the retain set → the row importances of every layer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Sized
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, Problem
from ..models.answers import answer_tokens
from ..models.linear import ALL_LINEAR, matrix_shape, target_layers
from ..progress import track
from .capture import captured_gradients
from .estimator import Estimator, Layer, Sums, estimators
from .relative import relative_row_importance

Batch = Mapping[str, Tensor]


def measure_importance(
    model: Any,
    forget_loader: Iterable[Batch],
    retain_loader: Iterable[Batch] | None = None,
    *,
    estimator: str = "factored",
    targets: str | Sequence[str] = ALL_LINEAR,
    layers: float = 1.0,
    rank: int = 8,
    seed: int = 0,
) -> dict[str, Tensor]:
    """How much of the forget set, relative to the retain set, each row of each weight matrix carries.

    model:   a Hugging Face causal LM; it is not changed
    loaders: iterables of dicts with `input_ids`, `attention_mask`, `labels`, each (batch, length); labels −100
             where nothing is predicted. Without a retain set the importance is that of the forget set alone.
    estimator: a name from `expunge methods`; targets, layers: which linear layers
    rank, seed: of VILA's random projections

    Returns {module name: d}, d (d_out,) fp32 on the CPU, d_i = sqrt(Σ_j F_rel,ij), F_rel = F_f / (F_r + ε).
    On several processes each gives its own shard of the data; the sums are added up, so all get the same result.

    Raises `InputError` for an unknown estimator or target, for an empty forget set, and where nothing is found: a
    variance needs two samples.
    """
    kind = estimators[estimator]
    modules = target_layers(model, targets, layers)
    device = model.get_input_embeddings().weight.device
    measured: dict[str, Estimator] = {}
    for name, module in modules.items():
        d_out, d_in = matrix_shape(module)
        measured[name] = kind(Layer(name, d_out, d_in, rank, seed), device)
    forget, forget_count = _sum_over(model, forget_loader, modules, measured, "importance, forget set")
    if forget_count == 0:
        raise InputError(Problem("data.forget", "the forget set is empty.", "Give at least one sample."))
    retain, retain_count = None, 0
    if retain_loader is not None:
        retain, retain_count = _sum_over(model, retain_loader, modules, measured, "importance, retain set")
    rows = {
        name: relative_row_importance(
            measured[name],
            forget[name],
            forget_count,
            retain[name] if retain and retain_count else None,
            retain_count,
        ).cpu()
        for name in modules
    }
    if not any(row.any() for row in rows.values()):
        raise InputError(
            Problem("adapter.initialization", f"{estimator!r} finds no importance anywhere: {forget_count} sample(s) "
                    "whose gradients do not vary.",
                    "With a single sample use 'fila', which needs no variance, or 'pissa'.")
        )  # fmt: skip
    return rows


def _sum_over(
    model: Any,
    loader: Iterable[Batch],
    modules: Mapping[str, nn.Module],
    measured: Mapping[str, Estimator],
    description: str,
) -> tuple[dict[str, Sums], int]:
    totals: dict[str, Sums] = {name: {} for name in modules}

    def observe(name: str, x: Tensor, delta: Tensor) -> None:
        total = totals[name]
        for key, value in measured[name].sums(x.float(), delta.float()).items():
            total[key] = total[key] + value if key in total else value

    device = model.get_input_embeddings().weight.device
    count = 0
    batches = track(loader, description) if isinstance(loader, Sized) else loader
    with captured_gradients(model, modules, observe):
        for batch in batches:
            tokens = answer_tokens(model, {key: value.to(device) for key, value in batch.items()})
            tokens.log_probability.sum().backward()
            count += tokens.sequences
    return _over_all_processes(totals, count, device)


def _over_all_processes(
    totals: dict[str, Sums], count: int, device: torch.device
) -> tuple[dict[str, Sums], int]:
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return totals, count
    counted = torch.tensor(count, device=device)
    torch.distributed.all_reduce(counted)
    for sums in totals.values():
        for value in sums.values():
            torch.distributed.all_reduce(value)
    return totals, int(counted)
