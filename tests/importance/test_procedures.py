"""`perturb` and `official` against loops written from the specification (methods.md §2), with full autograd."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers.pytorch_utils import Conv1D

from expunge.adapters.low_rank import official_low_rank
from expunge.errors import InputError
from expunge.importance import measure_importance
from expunge.importance.estimator import Layer
from expunge.importance.procedure import Procedure
from expunge.importance.vila import STANDARD_DEVIATION
from expunge.models.linear import target_layers
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


def batch_mean_gradients(model, batches) -> list[tuple[int, dict[str, torch.Tensor]]]:
    """For each batch its label tokens and the gradient of its mean loss, by autograd on the weights."""
    found = []
    for batch in batches:
        model.zero_grad()
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        targets = batch["labels"][:, 1:]
        cross_entropy(logits[:, :-1].flatten(0, 1), targets.flatten(), ignore_index=-100).backward()
        gradients = {}
        for name, module in target_layers(model).items():
            g = module.weight.grad.double()
            gradients[name] = g.T.clone() if isinstance(module, Conv1D) else g.clone()
        found.append((int((targets != -100).sum()), gradients))
    return found


def official_fila(batches, name: str) -> torch.Tensor:
    total = sum(count for count, _ in batches)
    return sum(count * gradients[name].square() for count, gradients in batches) / total


def official_vila(batches, name: str, passes: int = 10) -> torch.Tensor:
    """Σ n·g², Σ n·g of gA and gB over ten passes, divided by the count twice, clamped at 0."""
    example = batches[0][1][name]
    A, B = (part.double() for part in pair(name, *example.shape))
    total = passes * sum(count for count, _ in batches)
    variances = []
    for project in (lambda g: g @ A.T, lambda g: B.T @ g):
        squares = passes * sum(count * project(g[name]).square() for count, g in batches) / total / total
        mean = passes * sum(count * project(g[name]) for count, g in batches) / total / total
        variances.append((squares - mean.square()).clamp_min(0))
    return variances[0] @ variances[1]


@pytest.mark.parametrize("shape", ["llama", "gpt2"])
@pytest.mark.parametrize("estimator", ["fila", "vila"])
def test_official_is_the_loop_of_the_public_code(estimator: str, shape: str) -> None:
    model = random_model(shape)
    for module in model.modules():  # dropout would draw other masks in the loop
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    forget, retain = split_batch(random_batch(12), 4), split_batch(random_batch(10, seed=3), 4)
    measured_on = perturbed_copy(model) if estimator == "vila" else copy.deepcopy(model)
    of_forget, of_retain = (
        batch_mean_gradients(measured_on, forget),
        batch_mean_gradients(measured_on, retain),
    )
    literal = official_vila if estimator == "vila" else official_fila
    found = measure_importance(
        model, forget, retain, estimator=estimator, rank=RANK, scaling=SCALING, seed=SEED, official=True
    )
    for name, row in found.items():
        relative = literal(of_forget, name) / (literal(of_retain, name) + EPSILON)
        wanted = (relative.sum(1) + EPSILON).sqrt()
        torch.testing.assert_close(row.double(), wanted, rtol=2e-3, atol=0)
    assert not model.training


@pytest.mark.parametrize(("official", "training"), [(True, True), (False, False)])
def test_the_public_code_measures_in_train_mode(official: bool, training: bool) -> None:
    model, modes = random_model(), set()
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


def test_the_official_decomposition_is_the_unbalanced_one() -> None:
    generator = torch.Generator().manual_seed(0)
    W, d = torch.randn(20, 12, generator=generator), torch.rand(20, generator=generator) + 0.5
    A, B = official_low_rank(W, d, rank=12, scaling=2.0)  # full rank: the randomised SVD is exact
    torch.testing.assert_close(2.0 * B @ A, W, atol=1e-4, rtol=1e-4)
    S = torch.linalg.svdvals(d[:, None] * W)
    torch.testing.assert_close(A.norm(dim=1).square() * 2.0, S, rtol=1e-3, atol=1e-4)
    doubled = official_low_rank(W, 4 * d, rank=12, scaling=2.0)
    assert float(doubled[0].norm() / A.norm()) == pytest.approx(2.0, rel=1e-3)  # the scale of d is kept


@pytest.mark.parametrize(("divisions", "wanted"), [(1, 6.0), (2, 1.5)])
def test_sums_as_large_as_the_weights_are_not_copied(divisions: int, wanted: float) -> None:
    """Of a model of 7 B parameters a copy of the retain set's sums alone would take 26 GB."""
    sums = {"layer": {"squares": torch.full((2, 3), 6.0)}}
    before = sums["layer"]["squares"]
    after = Procedure(divisions=divisions).finished(sums, 4)["layer"]["squares"]
    assert after.data_ptr() == before.data_ptr()
    assert torch.equal(after, torch.full((2, 3), wanted))
