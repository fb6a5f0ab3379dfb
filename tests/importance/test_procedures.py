"""`perturb` and `official` against loops written from the specification (methods.md §2), with full autograd."""

from __future__ import annotations

import copy
import statistics
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers.pytorch_utils import Conv1D

from expunge.adapters.low_rank import official_low_rank
from expunge.errors import InputError
from expunge.importance import measure_importance
from expunge.importance.estimator import Layer
from expunge.importance.vila import STANDARD_DEVIATION
from expunge.models.linear import target_layers
from expunge.recipe import load_recipe
from expunge.run.importance import RedrawnBatches, measure
from expunge.run.job import Job
from tiny_models import random_batch, random_model, split_batch

RANK, SEED, SCALING = 3, 5, 2.0
EPSILON = 1e-5


def pair(name: str, d_out: int, d_in: int) -> tuple[torch.Tensor, torch.Tensor]:
    layer = Layer(name, d_out, d_in, RANK, SEED)
    return (
        layer.gaussian("A", RANK, d_in, std=STANDARD_DEVIATION),
        layer.gaussian("B", d_out, RANK, std=STANDARD_DEVIATION),
    )


def perturbed_copy(model):
    """The model with s·BA written into its weights."""
    changed = copy.deepcopy(model)
    for name, module in target_layers(changed).items():
        weight = module.weight.data.T if isinstance(module, Conv1D) else module.weight.data
        A, B = pair(name, *weight.shape)
        weight += SCALING * B @ A
    return changed


class Redrawn:
    """A loader that gives other batches at each walk through it, as a shuffled one does."""

    def __init__(self, passes):
        self.passes, self.walks = passes, 0

    def __iter__(self):
        self.walks += 1
        return iter(self.passes[self.walks - 1])


def with_pairs(model) -> dict[str, tuple[torch.nn.Parameter, torch.nn.Parameter]]:
    """Give every linear layer a LoRA pair, y = Wx + s·B(Ax), and return the pairs: {name: (A, B)}."""
    pairs = {}
    for name, module in target_layers(model).items():
        d_in, d_out = module.weight.shape if isinstance(module, Conv1D) else module.weight.shape[::-1]
        A, B = (torch.nn.Parameter(part) for part in pair(name, d_out, d_in))
        module.register_forward_hook(
            lambda _module, inputs, output, A=A, B=B: output + SCALING * (inputs[0] @ A.T) @ B.T
        )
        pairs[name] = (A, B)
    return pairs


def accumulated(model, passes, gradients_of) -> tuple[dict, dict, int]:
    """Σ c·g², Σ c·g and C = Σ c over the batches of all passes: g of the batch's mean loss, c its label tokens.

    gradients_of: () → {key: g} after the backward pass
    """
    squares, sums, total = {}, {}, 0
    for batches in passes:
        for batch in batches:
            model.zero_grad()
            logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
            targets = batch["labels"][:, 1:]
            cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten(), ignore_index=-100).backward()
            c = int((targets != -100).sum())
            for key, gradient in gradients_of().items():
                g = gradient.double()
                squares[key] = squares.get(key, 0) + c * g**2
                sums[key] = sums.get(key, 0) + c * g
            total += c
    return squares, sums, total


def literal_fila(model, passes) -> dict[str, torch.Tensor]:
    """Σ c·g² / C of every weight."""

    def gradients():
        return {
            name: module.weight.grad.T if isinstance(module, Conv1D) else module.weight.grad
            for name, module in target_layers(model).items()
        }

    squares, _, total = accumulated(model, passes, gradients)
    return {name: square / total for name, square in squares.items()}


def literal_vila(model, passes) -> dict[str, torch.Tensor]:
    """Var_B·Var_A / C, Var = clamp(Σ c·g² / C − (Σ c·g / C)², 0), g of a LoRA pair's own parameters."""
    pairs = with_pairs(model)

    def gradients():
        found = {}
        for name, (A, B) in pairs.items():
            found[name, "A"], found[name, "B"] = A.grad.clone(), B.grad.clone()
            A.grad = B.grad = None
        return found

    squares, sums, total = accumulated(model, passes, gradients)
    variance = {key: (squares[key] / total - (sums[key] / total) ** 2).clamp(min=0) for key in squares}
    return {name: variance[name, "B"] @ variance[name, "A"] / total for name in pairs}


def drawn_anew(passes: int, seed: int) -> list[list[dict[str, torch.Tensor]]]:
    """Other samples in other batches at each pass: 10 of 14, in batches of 4, 4 and 2."""
    batch, generator = random_batch(14, seed=seed), torch.Generator().manual_seed(seed)
    return [
        split_batch({key: value[order] for key, value in batch.items()}, 4)
        for order in (torch.randperm(14, generator=generator)[:10] for _ in range(passes))
    ]


def without_dropout(shape: str = "llama"):
    """In train mode dropout would draw other masks in the loop than in the package."""
    model = random_model(shape)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
@pytest.mark.parametrize(
    ("estimator", "passes", "made"), [("vila", None, 10), ("fila", None, 1), ("fila", 10, 10)]
)
def test_official_is_the_loop_of_the_public_code(
    estimator: str, passes: int | None, made: int, shape: str
) -> None:
    """d = sqrt(row sums of F_f / (1e-5 + F_r)); VILA's repository makes ten passes, LoKU's one."""
    literal = literal_vila if estimator == "vila" else literal_fila
    forget, retain = drawn_anew(made, seed=2), drawn_anew(made, seed=3)
    of_forget, of_retain = (literal(without_dropout(shape), side) for side in (forget, retain))
    model, loaders = without_dropout(shape), [Redrawn(forget), Redrawn(retain)]
    found = measure_importance(
        model,
        *loaders,
        estimator=estimator,
        rank=RANK,
        scaling=SCALING,
        seed=SEED,
        official=True,
        passes=passes,
    )
    assert [loader.walks for loader in loaders] == [made, made]
    assert found.keys() == of_forget.keys()
    for name, row in found.items():
        wanted = (of_forget[name] / (EPSILON + of_retain[name])).sum(1).sqrt()
        torch.testing.assert_close(row.double(), wanted, rtol=2e-3, atol=0)
    assert not model.training


@pytest.mark.slow
@pytest.mark.shared
def test_the_official_importance_varies_on_a_real_model(shared: Path, tmp_path: Path) -> None:
    """On forget01, a layer's standard deviation of d over its mean, the median of the 28 layers: 0.26, never 0."""
    recipe = {
        "model": {"path": str(shared / "models" / "tofu-tiny" / "full")},
        "data": {"format": "tofu", "path": str(shared / "data" / "tofu"), "forget": "forget01"},
        "adapter": {"initialization": "vila", "rank": 8},
        "importance": {"official": True, "batch_size": 4},
    }
    spreads = [float(d.std() / d.mean()) for d in measure(Job(load_recipe(recipe), tmp_path)).values()]
    assert len(spreads) == 28
    assert statistics.median(spreads) == pytest.approx(0.26, abs=0.03)
    assert min(spreads) > 0.05


@pytest.mark.parametrize(("official", "training"), [(True, True), (False, False)])
def test_the_public_code_measures_in_train_mode(official: bool, training: bool) -> None:
    model, modes = random_model(), set()
    target_layers(model)  # which layers a pass calls is found out once, in eval mode
    model.register_forward_pre_hook(lambda module, _inputs: modes.add(module.training))
    measure_importance(model, [random_batch(4)], estimator="fila", official=official)
    assert modes == {training}


def test_perturb_measures_another_model() -> None:
    model, forget = random_model(), split_batch(random_batch(12), 5)
    options = {"estimator": "vila", "rank": RANK, "seed": SEED}
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    found = measure_importance(model, forget, perturb=True, scaling=SCALING, **options)
    wanted = measure_importance(perturbed_copy(model), forget, **options)
    probed = measure_importance(model, forget, **options)
    for name, row in found.items():
        torch.testing.assert_close(row, wanted[name], rtol=2e-3, atol=1e-6)
    assert any(not torch.allclose(found[name], probed[name], rtol=0.1) for name in found)
    assert all(torch.equal(parameter, before[name]) for name, parameter in model.named_parameters())
    assert not any(module._forward_hooks for module in model.modules())


def test_official_is_far_from_the_definition() -> None:
    """Why it is an option and no default: another order of the rows, not only another scale."""
    model = random_model()
    forget, retain = split_batch(random_batch(12), 4), split_batch(random_batch(10, seed=3), 4)
    official, ours = (
        measure_importance(model, forget, retain, estimator="vila", rank=RANK, seed=SEED, official=flag)
        for flag in (True, False)
    )
    correlations = [torch.corrcoef(torch.stack([official[name], ours[name]]))[0, 1] for name in ours]
    assert min(correlations) < 0.9


def test_procedures_that_an_estimator_does_not_have_are_refused() -> None:
    model, batches = random_model(), [random_batch(4)]
    with pytest.raises(InputError, match="no public code of 'factored'"):
        measure_importance(model, batches, estimator="factored", official=True)
    with pytest.raises(InputError, match="no random pair"):
        measure_importance(model, batches, estimator="fila", perturb=True)


@pytest.mark.parametrize("estimator", ["factored", "fila"])
def test_passes_that_would_be_the_same_are_refused(estimator: str) -> None:
    with pytest.raises(InputError, match=r"importance.passes.*a second would be the same"):
        measure_importance(random_model(), [random_batch(4)], estimator=estimator, passes=2)


def test_the_official_decomposition_is_the_unbalanced_one() -> None:
    """A = √S Vᵀ, B = U√S / (d + 1e-5), with no share of s in them."""
    generator = torch.Generator().manual_seed(0)
    W, d = torch.randn(20, 12, generator=generator), torch.rand(20, generator=generator) + 0.5
    A, B = official_low_rank(W, d, rank=12, scaling=2.0)  # full rank: the randomised SVD is exact
    torch.testing.assert_close(B @ A, d[:, None] * W / (d[:, None] + EPSILON), atol=1e-4, rtol=1e-4)
    S = torch.linalg.svdvals(d[:, None] * W)
    torch.testing.assert_close(A.norm(dim=1).square(), S, rtol=1e-3, atol=1e-4)
    doubled = official_low_rank(W, 4 * d, rank=12, scaling=2.0)
    assert float(doubled[0].norm() / A.norm()) == pytest.approx(2.0, rel=1e-3)  # the scale of d is kept
    d[3] = 0.0  # a row without importance: its share of B is 0 / 1e-5, not 0 / 0
    torch.testing.assert_close(
        official_low_rank(W, d, rank=12, scaling=2.0)[1][3], torch.zeros(12), atol=0.2, rtol=0
    )


def test_each_walk_draws_anew_and_processes_share_the_draw() -> None:
    """5 of 9 samples in batches of 2: no sample twice in a pass, every pass its own, the same on every machine."""
    one, again = (RedrawnBatches(9, 5, 2, seed=7) for _ in range(2))
    passes = [list(one) for _ in range(20)]
    assert passes == [list(again) for _ in range(20)]
    for batches in passes:
        assert [len(batch) for batch in batches] == [2, 2, 1]
        assert len({index for batch in batches for index in batch}) == 5
    assert {index for batches in passes for batch in batches for index in batch} == set(range(9))
    assert len({str(batches) for batches in passes}) > 15
    shares = [RedrawnBatches(9, 5, 2, 7, process, of=2) for process in (0, 1)]
    assert [len(share) for share in shares] == [2, 1]
    drawn = [index for batch in passes[0] for index in batch]
    assert [[index for batch in share for index in batch] for share in shares] == [drawn[::2], drawn[1::2]]
