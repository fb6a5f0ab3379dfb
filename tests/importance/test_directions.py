"""The start on input directions against scipy's generalised eigenproblem of inputs that are written down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.linalg import eigh

from expunge import attach_adapter
from expunge.adapters.anchor import ANCHOR, UNLEARN, adapted_layers
from expunge.errors import InputError
from expunge.importance import directions
from expunge.importance.directions import RIDGE, input_directions, leading_directions
from expunge.models.linear import linear_layers
from tiny_models import SHAPES, random_batch, random_model, split_batch


def inputs_of(model: Any, name: str, batch: dict[str, torch.Tensor]) -> np.ndarray:
    """What flows into a layer at the attended positions but the last column, one sequence at a time, (n, d_in)."""
    rows = []
    for row in range(len(batch["labels"])):
        length = min(int(batch["attention_mask"][row].sum()), batch["labels"].shape[1] - 1)
        seen = []
        hook = model.get_submodule(name).register_forward_pre_hook(
            lambda _, inputs, seen=seen: seen.append(inputs[0].detach())
        )
        with torch.no_grad():
            model(input_ids=batch["input_ids"][row : row + 1, :length])
        hook.remove()
        rows.append(seen[0].reshape(-1, seen[0].shape[-1]).double().numpy())
    return np.concatenate(rows)


def oracle(forget: np.ndarray, retain: np.ndarray | None, rank: int) -> np.ndarray:
    """The leading generalised eigenvectors as rows of length √(1/3)."""
    width = forget.shape[1]
    C_f = forget.T @ forget / len(forget)
    metric = np.eye(width)
    if retain is not None:
        C_r = retain.T @ retain / len(retain)
        metric = C_r + RIDGE * np.trace(C_r) / width * metric
    values, vectors = eigh(C_f, metric)
    V = vectors[:, np.argsort(values)[::-1][:rank]].T
    V /= np.linalg.norm(V, axis=1, keepdims=True) * np.sqrt(3)
    return V * np.sign(V[np.arange(rank), np.abs(V).argmax(1)])[:, None]


@pytest.mark.parametrize("with_retain", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_they_solve_the_eigenproblem_of_the_inputs(shape: str, with_retain: bool) -> None:
    model = random_model(shape)
    forget, retain = random_batch(6), random_batch(9, seed=3)
    found = input_directions(
        model, split_batch(forget, 4), split_batch(retain, 2) if with_retain else None, rank=3
    )
    assert found.keys() == linear_layers(model).keys()
    for name, A in found.items():
        wanted = oracle(
            inputs_of(model, name, forget), inputs_of(model, name, retain) if with_retain else None, 3
        )
        np.testing.assert_allclose(A.numpy(), wanted, atol=2e-4, err_msg=name)


@pytest.mark.parametrize("width", [300, 700])
def test_the_iteration_finds_what_the_exact_decomposition_does(
    width: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = torch.Generator().manual_seed(0)
    forget, retain = (torch.randn(count, width, generator=generator) for count in (150, 400))
    C_f, C_r = forget.T @ forget / 150, retain.T @ retain / 400
    iterated = leading_directions(C_f, C_r, 4)
    monkeypatch.setattr(directions, "EXACT_WIDTH", width)
    exact = leading_directions(C_f, C_r, 4)
    torch.testing.assert_close(iterated, exact, rtol=0, atol=5e-5)


def test_memory_bounds_the_layers_of_a_pass_and_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    model, forget, retain = random_model(), [random_batch(4)], [random_batch(4, seed=3)]
    whole = input_directions(model, forget, retain, rank=2)
    monkeypatch.setattr(directions, "MOMENTS_BYTES", 1)
    for name, A in input_directions(model, forget, retain, rank=2).items():
        torch.testing.assert_close(A, whole[name], rtol=0, atol=0)


def test_a_direction_that_only_the_forget_set_uses_comes_first() -> None:
    """By hand: along e_0 the sets are alike, along e_1 only forget inputs lie. λ: 9/(4+ε·mean) and 1/(ε·mean)."""
    forget = torch.diag(torch.tensor([9.0, 1.0, 0.0]))
    retain = torch.diag(torch.tensor([4.0, 0.0, 2.0]))
    A = leading_directions(forget, retain, 2)
    torch.testing.assert_close(A, torch.tensor([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]) / 3**0.5)
    torch.testing.assert_close(leading_directions(forget, None, 1), torch.tensor([[1.0, 0.0, 0.0]]) / 3**0.5)


def test_model_and_hooks_are_left_as_they_were() -> None:
    model = random_model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    input_directions(model, [random_batch(2)], [random_batch(2)], rank=2)
    assert model.training
    assert all(not module._forward_pre_hooks for module in model.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="the forget set is empty"):
        input_directions(random_model(), [], [random_batch(2)])


def test_there_are_as_many_directions_as_an_input_is_wide() -> None:
    """Of 24 and 40 columns, with 30 asked for: the 24 and six rows of zeros, and 30 of the 40."""
    model, forget, retain = random_model(), [random_batch(6)], [random_batch(9, seed=3)]
    found = input_directions(model, forget, retain, rank=30)
    for name, A in found.items():
        whole = input_directions(model, forget, retain, targets=[name], rank=A.shape[1])[name]
        assert A.shape == (30, whole.shape[1])
        torch.testing.assert_close(A[: len(whole)], whole[:30], rtol=0, atol=0)
        assert not A[len(whole) :].any()
    assert {A.shape[1] for A in found.values()} == {24, 40}


def test_an_adapter_that_starts_there_changes_nothing_and_has_no_anchor() -> None:
    model, batch = random_model(), random_batch(4)
    placed = input_directions(model, [batch], [random_batch(4, seed=3)], rank=2)
    ids = batch["input_ids"]
    with torch.no_grad():
        before = model(ids).logits
        adapted = attach_adapter(model, directions=placed, rank=2, alpha=4)
        assert torch.equal(adapted(ids).logits, before)
    layers = adapted_layers(adapted)
    assert {name.removeprefix("base_model.model.") for name in layers} == placed.keys()
    for name, layer in layers.items():
        assert ANCHOR not in layer.lora_A
        assert not layer.lora_B[UNLEARN].weight.any()
        assert torch.equal(layer.lora_A[UNLEARN].weight, placed[name.removeprefix("base_model.model.")])
    with pytest.raises(InputError, match=r"it has shape \(2, 24\), not \(3, 24\)"):
        attach_adapter(random_model(), directions=placed, rank=3)
