"""The input directions that the forget set has and the retain set has not.

An adapter s·B A x sees of a layer's input x only its part along the rows of A. They are placed where the two sets
differ: of the second moments C = E[x xᵀ] over all positions of a set, A holds the leading solutions of

    C_f v = λ (C_r + ε·mean(C_r)·I) v,        ε = 0.01, mean(C_r) = tr(C_r) / d_in

the directions in which the forget set's inputs are largest for what the retain set's inputs are. B is zero, both are
trained, so nothing has to be anchored. One forward pass over both sets, no gradient, no decomposition of W.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ..errors import InputError, Problem
from ..models.answers import answer_tokens
from ..models.float64 import float64
from ..models.linear import matrix_shape, target_layers
from ..models.modes import evaluating
from ..models.seeds import seed_for
from ..models.settings import ALL_LINEAR
from ..models.sharding import accompany

Batch = Mapping[str, Tensor]

#: ε: a direction that the retain set does not use at all counts as this share of the mean direction.
RIDGE = 0.01
#: Squared length of a row of A: that of LoRA's own start, whose entries are uniform with variance 1 / (3·d_in).
SQUARED_LENGTH = 1 / 3
#: Inputs up to this width are decomposed exactly; of wider ones the leading subspace is iterated.
EXACT_WIDTH = 256
OVERSAMPLING = 16
#: Blocks of the Krylov space at most; inputs of real models took 7 to 9.
BLOCKS = 30
#: The iteration ends where the wanted eigenvalues change by less than this share.
CONVERGED = 1e-6
#: Bytes of second moments that are kept at once; a model with more of them takes further passes.
MOMENTS_BYTES = 2**31


def input_directions(
    model: Any,
    forget_loader: Iterable[Batch],
    retain_loader: Iterable[Batch] | None = None,
    *,
    targets: str | Sequence[str] = ALL_LINEAR,
    layers: float = 1.0,
    rank: int = 8,
    seed: int = 0,
) -> dict[str, Tensor]:
    """{module name: A (rank, d_in) fp32 on the CPU}, rows of length √(1/3), the leading direction first.

    model:   a Hugging Face causal LM; it is not changed
    loaders: iterables, walked through once or, of wide models, several times, of dicts with `input_ids`,
             `attention_mask`, `labels`, all (batch, length). Without a retain set the directions are the leading
             ones of the forget set's inputs.

    Several processes give their own shards; the moments are added up. Raises `InputError` for an unknown target and
    an empty forget set.
    """
    modules = target_layers(model, targets, layers)
    widths = {name: matrix_shape(module)[1] for name, module in modules.items()}
    leaders = _layers_of_one_input(model, modules, forget_loader)
    directions: dict[str, Tensor] = {}
    for part in _within_memory({name: widths[name] for name in dict.fromkeys(leaders.values())}):
        watched = {name: modules[name] for name in part}
        forget, forget_count = _moments(model, forget_loader, watched)
        if forget_count == 0:
            raise InputError(Problem("data.forget", "the forget set is empty.", "Give at least one sample."))
        retain, retain_count = _moments(model, retain_loader or (), watched)
        for name in part:
            other = retain[name] / retain_count if retain_count else None
            directions[name] = leading_directions(
                forget[name] / forget_count, other, rank, seed_for(seed, name, "directions")
            ).cpu()
    return {
        name: directions[leader].clone() for name, leader in leaders.items()
    }  # safetensors stores no tensor twice


def leading_directions(forget: Tensor, retain: Tensor | None, rank: int, seed: int = 0) -> Tensor:
    """The leading solutions v of C_f v = λ (C_r + ε·mean(C_r)·I) v as rows (rank, width) fp32 of length √(1/3).

    forget, retain: C_f and C_r, (width, width), symmetric and non-negative; without C_r those of C_f v = λ v
    seed:           of the iteration's beginning, where the width exceeds `EXACT_WIDTH`

    A row's sign is such that its largest entry is positive. There are as many solutions as the width: where the rank
    is more, the rows after them are zero.
    """
    width = len(forget)
    C = float64(forget)
    if retain is not None and (mean := float64(retain.diagonal()).mean()) > 0:
        metric = float64(retain)
        metric = metric.clone() if metric is retain else metric
        metric.diagonal().add_(RIDGE * mean)
    else:
        metric = torch.eye(width, dtype=C.dtype, device=C.device)
    L = torch.linalg.cholesky(metric)
    if width <= max(EXACT_WIDTH, rank + OVERSAMPLING):
        whitened = torch.linalg.solve_triangular(L, C, upper=False)
        whitened = torch.linalg.solve_triangular(L, whitened.T, upper=False)
        U = torch.linalg.eigh((whitened + whitened.T) / 2).eigenvectors.flip(1)[:, :rank]
    else:
        U = _leading_subspace(C, L, rank, seed)
    V = torch.linalg.solve_triangular(L.T, U, upper=True).T
    V = V / V.norm(dim=1, keepdim=True) * SQUARED_LENGTH**0.5
    largest = V.gather(1, V.abs().argmax(1, keepdim=True))
    return pad(V * largest.sign(), (0, 0, 0, rank - len(V))).float()


def _leading_subspace(C: Tensor, L: Tensor, rank: int, seed: int) -> Tensor:
    """Leading eigenvectors (width, rank) of L⁻¹ C L⁻ᵀ, from the block Krylov space of random vectors.

    Every block is the image of the one before: all of them together hold the leading eigenvectors far sooner than the
    last one alone does, which is subspace iteration (Musco and Musco 2015).
    """
    generator = torch.Generator().manual_seed(seed)
    block = torch.randn(len(C), rank + OVERSAMPLING, generator=generator, dtype=C.dtype).to(C.device)
    basis = images = block[:, :0]
    before = torch.zeros(rank, dtype=C.dtype, device=C.device)
    for _ in range(min(BLOCKS, len(C) // block.shape[1])):
        for _ in range(2):  # once leaves what rounding puts back of the basis
            block = torch.linalg.qr(block - basis @ (basis.T @ block)).Q
        image = C @ torch.linalg.solve_triangular(L.T, block, upper=True)
        image = torch.linalg.solve_triangular(L, image, upper=False)
        basis, images = torch.cat([basis, block], 1), torch.cat([images, image], 1)
        values, rotation = torch.linalg.eigh(basis.T @ images)
        values, rotation = values.flip(0)[:rank], rotation.flip(1)[:, :rank]
        if (values - before).abs().max() <= CONVERGED * values.abs().max():
            break
        before, block = values, image
    return basis @ rotation


def _moments(
    model: Any, loader: Iterable[Batch], layers: Mapping[str, nn.Module]
) -> tuple[dict[str, Tensor], int]:
    """Σ x xᵀ of every layer's input over all positions but padding, (d_in, d_in) fp32 on its device; their number."""
    device = model.get_input_embeddings().weight.device
    sums = {
        name: torch.zeros(width, width, device=next(layer.parameters()).device)
        for name, layer in layers.items()
        for width in (matrix_shape(layer)[1],)
    }
    count = torch.zeros((), dtype=torch.int64, device=device)
    for batch in loader:
        batch = {key: value.to(device) for key, value in batch.items()}
        attended = batch["attention_mask"][:, : max(batch["labels"].shape[1] - 1, 1)].bool()

        with _observed_inputs(layers, partial(_add, sums, attended)):
            _forward(model, batch)
        count += attended.sum()
    accompany()
    for value in (*sums.values(), count):
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(value)
    return sums, int(count)


def _add(sums: Mapping[str, Tensor], attended: Tensor, name: str, x: Tensor) -> None:
    positions = x.detach().reshape(-1, x.shape[-1])
    if len(positions) == attended.numel():  # an expert, say, gets only the positions that were routed to it
        positions = positions[attended.reshape(-1).to(x.device)]
    positions = positions.float()
    sums[name].addmm_(positions.T, positions)


def _layers_of_one_input(
    model: Any, layers: Mapping[str, nn.Module], loader: Iterable[Batch]
) -> dict[str, str]:
    """Layer → the first layer that reads the same input: query, key and value; gate and up."""
    device = model.get_input_embeddings().weight.device
    first = next(iter(loader), None)
    leaders: dict[str, str] = {name: name for name in layers}
    if first is None:
        return leaders
    seen: list[tuple[Tensor, str]] = []  # the tensors are held, so that none gets another's memory

    def note(name: str, x: Tensor) -> None:
        leaders[name] = next((other for tensor, other in seen if tensor is x), name)
        if leaders[name] == name:
            seen.append((x, name))

    with _observed_inputs(layers, note):
        _forward(model, {key: value[:1].to(device) for key, value in first.items()})
    return leaders


def _forward(model: Any, batch: Batch) -> None:
    with evaluating(model), torch.no_grad():
        answer_tokens(model, batch)


@contextmanager
def _observed_inputs(
    layers: Mapping[str, nn.Module], observe: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Within the block every layer calls `observe(name, x)` with its input."""

    def hook(name: str) -> Any:
        return lambda _module, inputs: observe(name, inputs[0])

    hooks = [module.register_forward_pre_hook(hook(name)) for name, module in layers.items()]
    try:
        yield
    finally:
        for registered in hooks:
            registered.remove()


def _within_memory(widths: Mapping[str, int]) -> Iterator[list[str]]:
    """The layers in groups whose second moments of both sets take at most `MOMENTS_BYTES`."""
    group: list[str] = []
    taken = 0
    for name, width in widths.items():
        needed = 2 * 4 * width**2
        if group and taken + needed > MOMENTS_BYTES:
            yield group
            group, taken = [], 0
        group.append(name)
        taken += needed
    if group:
        yield group
