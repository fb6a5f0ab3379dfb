"""Gradient norms against one autograd call per example."""

from __future__ import annotations

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from test_answer_losses import random_examples

from expunge import attach_adapter
from expunge.adapters.attach import uniform_importance
from expunge.data.encoding import Example
from expunge.evaluation.gradient_norm import gradient_norms
from tiny_models import SHAPES, random_model


def one_call(model: torch.nn.Module, example: Example) -> float:
    """The norm of all gradients of the model's own mean loss."""
    loss = model(torch.tensor([example.input_ids]), labels=torch.tensor([example.labels])).loss
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return torch.cat([part.flatten() for part in gradients if part is not None]).norm().item()


def labelled(count: int) -> list[Example]:
    return [example for example in random_examples(count, 97) if example.label_count]


@pytest.mark.parametrize("shape", SHAPES)
def test_equals_autograd(shape):
    model = random_model(shape)
    examples = labelled(5)
    found = gradient_norms(model, examples, 0)
    assert found == pytest.approx([one_call(model, example) for example in examples], rel=1e-4)
    assert len({round(norm, 3) for norm in found}) == len(found)


def test_an_adapted_model_has_the_norms_of_the_merged_one():
    settings = LoraConfig(r=2, target_modules=["q_proj", "up_proj"], init_lora_weights=False)
    model = get_peft_model(random_model(), settings)
    merged = copy.deepcopy(model).merge_and_unload()
    for parameter in merged.parameters():
        parameter.requires_grad_(True)
    examples = labelled(3)
    assert gradient_norms(model, examples, 0) == pytest.approx(
        [one_call(merged, example) for example in examples], rel=1e-4
    )


def test_gradients_modes_and_frozen_weights_are_left_as_they_were():
    model = attach_adapter(random_model(), uniform_importance(random_model()), rank=2)
    model.train()
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = torch.full_like(parameter, 3.0)
    required = [parameter.requires_grad for parameter in model.parameters()]
    gradient_norms(model, labelled(2), 0)
    assert [parameter.requires_grad for parameter in model.parameters()] == required
    assert model.training
    for parameter in model.parameters():
        assert (parameter.grad is not None) == parameter.requires_grad
        assert parameter.grad is None or (parameter.grad == 3.0).all()
    assert not any(parameter._post_accumulate_grad_hooks for parameter in model.parameters())


def test_a_gradient_that_overflows_is_the_largest_number():
    model = random_model()
    model.lm_head.weight.data.mul_(1e38)
    (norm,) = gradient_norms(model, labelled(1), 0)
    assert norm == torch.finfo(torch.float32).max
