"""The forget set and the retain set through the model → the row importances of every layer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import InputError, Problem
from ..models.answers import IGNORED, AnswerTokens, answer_tokens
from ..models.linear import matrix_shape, target_layers
from ..models.settings import ALL_LINEAR
from ..models.sharding import passes_of_others
from ..progress import track
from .capture import captured_gradients
from .estimator import Estimator, Layer, Sums
from .procedure import Procedure, choose_procedure, perturbed
from .registry import estimators
from .relative import relative_row_importance

Batch = Mapping[str, Tensor]
#: Loaders up to this length are walked through to count their samples.
FEW_BATCHES = 64
MANY = 2**32


def measure_importance(
    model: Any,
    forget_loader: Iterable[Batch],
    retain_loader: Iterable[Batch] | None = None,
    *,
    estimator: str = "factored",
    targets: str | Sequence[str] = ALL_LINEAR,
    layers: float = 1.0,
    rank: int = 8,
    scaling: float = 2.0,
    seed: int = 0,
    perturb: bool = False,
    official: bool = False,
    passes: int | None = None,
) -> dict[str, Tensor]:
    """How much of the forget set, relative to the retain set, the rows of the weight matrices carry.

    model:   a Hugging Face causal LM; it is not changed
    loaders: iterables of dicts with `input_ids`, `attention_mask`, `labels`, all (batch, length); labels −100
             where nothing is predicted. Without a retain set the importance is that of the forget set alone.
    estimator: a name from `expunge methods`; targets, layers: which linear layers
    rank, scaling, seed: of VILA's random projections; scaling only counts where they perturb
    perturb:  measure at W + s·BA instead of W (VILA's text taken literally; it changes the model that is measured)
    official: reproduce the public code of `fila` and `vila`, mistakes included, for comparison (`OFFICIAL`): its
              result depends on the batches, and every pass takes what the loaders then give; shuffled ones draw anew
    passes:   of the public code, instead of those of the estimator's own paper (fila 1, vila 10)

    Returns {module name: d}, d (d_out,) fp32 on the CPU, d_i = sqrt(Σ_j F_rel,ij), F_rel = F_f / (F_r + ε).
    Several processes give their own shards of the data; the sums are added up, so all get the same result.

    Raises `InputError` for an unknown estimator or target, for an empty forget set, and where no row has any
    importance: a variance needs two samples.
    """
    procedure = choose_procedure(estimator, perturb=perturb, official=official, passes=passes)
    return measure_by(
        procedure,
        model,
        forget_loader,
        retain_loader,
        estimator=estimator,
        targets=targets,
        layers=layers,
        rank=rank,
        scaling=scaling,
        seed=seed,
    )


def measure_by(
    procedure: Procedure,
    model: Any,
    forget_loader: Iterable[Batch],
    retain_loader: Iterable[Batch] | None,
    *,
    estimator: str,
    targets: str | Sequence[str],
    layers: float,
    rank: int,
    scaling: float,
    seed: int,
) -> dict[str, Tensor]:
    """The result of `measure_importance`, by a procedure that the caller has chosen."""
    kind = estimators[estimator]
    modules = target_layers(model, targets, layers)
    device = model.get_input_embeddings().weight.device
    samples = None if procedure.batch_mean else _samples_if_few([forget_loader, retain_loader], device)
    measured: dict[str, Estimator] = {}
    for name, module in modules.items():
        d_out, d_in = matrix_shape(module)
        measured[name] = kind(Layer(name, d_out, d_in, rank, seed, samples), device)
    retain, retain_count = None, 0
    options = (measured, modules, procedure, scaling)
    with perturbed(modules, measured, scaling) if procedure.perturb else nullcontext():
        forget, forget_count = _sum_over(model, forget_loader, "forget set", *options)
        if forget_count == 0:
            raise InputError(Problem("data.forget", "the forget set is empty.", "Give at least one sample."))
        if retain_loader is not None:
            retain, retain_count = _sum_over(model, retain_loader, "retain set", *options)
    rows = {
        name: relative_row_importance(
            measured[name],
            forget[name],
            forget_count,
            retain[name] if retain and retain_count else None,
            retain_count,
            procedure,
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


def _samples_if_few(loaders: Sequence[Iterable[Batch] | None], device: torch.device) -> int | None:
    """Samples of the smaller set over all processes; None where it is large, or cannot be walked through twice."""
    smallest = MANY
    for loader in loaders:
        if loader is None:
            continue
        few = isinstance(loader, Sized) and len(loader) <= FEW_BATCHES
        # A row without labels is no sample.
        count = (
            sum(int((batch["labels"][:, 1:] != IGNORED).any(1).sum()) for batch in loader) if few else MANY
        )
        smallest = min(smallest, int(_over_all_processes(torch.tensor(count, device=device))) or MANY)
    return smallest if smallest < MANY else None


def _sum_over(
    model: Any,
    loader: Iterable[Batch],
    description: str,
    measured: Mapping[str, Estimator],
    modules: Mapping[str, nn.Module],
    procedure: Procedure,
    scaling: float,
) -> tuple[dict[str, Sums], int]:
    totals: dict[str, Sums] = {name: {} for name in modules}
    tokens: AnswerTokens
    same_input = _SameInput()

    def observe(name: str, x: Tensor, delta: Tensor) -> None:
        if not len(tokens.targets):
            return
        total = totals[name]
        with _tensor_cores(x.device):
            sums = procedure.sums(measured[name], same_input(x), delta.float(), len(tokens.targets), scaling)
        for key, value in sums.items():
            if key in total:
                total[key] += value
            else:
                total[key] = value

    device = model.get_input_embeddings().weight.device
    count = 0
    with captured_gradients(model, modules, observe, procedure.mode):
        for number in range(1, procedure.passes + 1):
            which = f" {number}/{procedure.passes}" if procedure.passes > 1 else ""
            batches = (
                track(loader, f"importance, {description}{which}") if isinstance(loader, Sized) else loader
            )
            for batch in batches:
                tokens = answer_tokens(model, {key: value.to(device) for key, value in batch.items()})
                samples = int((tokens.token_counts > 0).sum())  # a row without labels is no sample
                tokens.log_probability.sum().backward()
                count += procedure.count(samples, len(tokens.targets))
            for sharded in passes_of_others():
                tokens = answer_tokens(sharded, _without_labels(device))
                tokens.log_probability.sum().backward()
    for sums in totals.values():
        for value in sums.values():
            _over_all_processes(value)
    return totals, int(_over_all_processes(torch.tensor(count, device=device)))


def _without_labels(device: torch.device) -> Batch:
    """A batch of which nothing counts."""
    token = torch.zeros(1, 1, dtype=torch.int64, device=device)
    return {"input_ids": token, "attention_mask": token + 1, "labels": token + IGNORED}


class _SameInput:
    """x in fp32: one tensor for all layers that read the same x, so that it is cast once and known by its identity.

    The backward pass reaches such layers (query, key and value; gate and up) one after the other.
    """

    def __init__(self) -> None:
        self._x: Tensor | None = None
        self._converted: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        # The last x is held here, so its memory cannot have been given to another tensor.
        if self._converted is None or self._x is None or not _same_memory(self._x, x):
            self._x, self._converted = x, x.float()
        return self._converted


def _same_memory(a: Tensor, b: Tensor) -> bool:
    return (
        a.data_ptr() == b.data_ptr()
        and a.shape == b.shape
        and a.stride() == b.stride()
        and a.dtype == b.dtype
    )


@contextmanager
def _tensor_cores(device: torch.device) -> Iterator[None]:
    """On a GPU, fp32 products in TF32 within the block: bf16 inputs fit it exactly, and it is 8 to 15 times faster."""
    before = torch.get_float32_matmul_precision()
    if device.type == "cuda":
        torch.set_float32_matmul_precision("high")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def _over_all_processes(value: Tensor) -> Tensor:
    """Add up `value` over all processes, in place."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.all_reduce(value)
    return value
