"""The research code's procedure as the benchmarks time it: it has to compute what it is said to compute."""

from __future__ import annotations

import math

import pytest
import reference_procedure as reference
import torch
from torch.nn.functional import cross_entropy

from expunge.data.encoding import Example
from expunge.importance import measure_importance
from expunge.importance.estimator import Layer
from expunge.importance.vila import STANDARD_DEVIATION
from expunge.models.answers import IGNORED, AnswerTokens
from expunge.models.linear import linear_layers, matrix_shape
from expunge.objectives import Outputs, forget_losses
from tiny_models import VOCABULARY, random_model

RANK, SEED = 3, 5


def examples(count: int, seed: int) -> list[Example]:
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(count):
        length = int(torch.randint(5, 12, (), generator=generator))
        ids = torch.randint(1, VOCABULARY, (length,), generator=generator).tolist()
        found.append(Example(ids, [IGNORED] * 3 + ids[3:]))
    return found


FORGET, RETAIN = examples(6, seed=1), examples(5, seed=2)


def batch_gradients(model, batches) -> list[tuple[dict[str, torch.Tensor], int]]:
    """The gradient of each batch's mean loss in every linear layer, and the label tokens of the batch."""
    found = []
    for batch in batches:
        model.zero_grad()
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        labels = batch["labels"][:, 1:]
        cross_entropy(logits[:, :-1].transpose(1, 2), labels, ignore_index=IGNORED).backward()
        gradients = {name: layer.weight.grad.clone() for name, layer in linear_layers(model).items()}
        found.append((gradients, int((labels != IGNORED).sum())))
    return found


def summed(sums: reference.Accumulated, data, passes: int) -> reference.Accumulated:
    for _ in range(passes):
        sums.add(data)
    return sums


def vila(perturbed, data, passes: int) -> dict[str, torch.Tensor]:
    return reference.vila_map(summed(reference.Accumulated.of_vila(perturbed), data, passes))


def fila(model, data, passes: int) -> dict[str, torch.Tensor]:
    return reference.fila_map(summed(reference.Accumulated.of_fila(model), data, passes))


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_the_random_pairs_stay_on_the_device_and_in_the_dtype_that_peft_gives_them(device: str) -> None:
    """On a base in bf16, as on a GPU: drawn on the CPU they must not take the adapter there."""
    model = random_model().to(torch.bfloat16).to(device)
    perturbed = reference.perturbed_model(model, RANK)
    assert {(parameter.device.type, parameter.dtype) for parameter in perturbed.parameters()} == {
        (device, torch.bfloat16),
        (device, torch.float32),
    }
    assert {p.dtype for name, p in perturbed.named_parameters() if "lora_" in name} == {torch.float32}


def test_batches_are_padded_to_500() -> None:
    batches = reference.padded_batches(FORGET)
    assert [tuple(batch["labels"].shape) for batch in batches] == [(4, 500), (2, 500)]
    first = FORGET[0]
    assert batches[0]["input_ids"][0, : len(first)].tolist() == first.input_ids
    assert batches[0]["attention_mask"][0].sum() == len(first)
    assert (batches[0]["labels"][0, len(first) :] == IGNORED).all()


def test_fila_is_the_weighted_mean_square_of_batch_gradients() -> None:
    model, data = random_model(), reference.padded_batches(FORGET)
    gradients = batch_gradients(model, data)
    total = sum(count for _, count in gradients)
    found = fila(model, data, passes=2)  # passes do not change a mean
    assert found.keys() == linear_layers(model).keys()
    for name, importance in found.items():
        wanted = sum(count * gradient[name].square() for gradient, count in gradients) / total
        torch.testing.assert_close(importance, wanted, rtol=1e-3, atol=1e-9)


def test_vila_is_measured_at_the_perturbed_weights() -> None:
    """With W + s·BA merged by hand: the gradient of B is s·gAᵀ, that of A is s·Bᵀg; the product is divided by the
    count once more."""
    data, scaling = reference.padded_batches(FORGET), 2.0
    perturbed = reference.perturbed_model(random_model(), RANK, scaling, SEED)
    pairs = {
        name: (layer.lora_A["default"].weight.detach(), layer.lora_B["default"].weight.detach())
        for name, layer in perturbed.base_model.model.named_modules()
        if hasattr(layer, "lora_A")
    }
    spread = torch.cat([part.flatten() for pair in pairs.values() for part in pair]).std()
    assert spread == pytest.approx(0.05, rel=0.05)
    found = vila(perturbed, data, passes=1)
    merged = random_model()
    for name, layer in linear_layers(merged).items():
        A, B = pairs[name]
        layer.weight.data += scaling * B @ A
    gradients = batch_gradients(merged, data)
    total = sum(count for _, count in gradients)
    for name, importance in found.items():
        A, B = pairs[name]
        variances = []
        for project in (lambda g, A=A: scaling * g @ A.T, lambda g, B=B: scaling * B.T @ g):
            square = sum(count * project(gradient[name]).square() for gradient, count in gradients)
            mean = sum(count * project(gradient[name]) for gradient, count in gradients)
            variances.append((square / total - (mean / total).square()).clamp(min=0))
        torch.testing.assert_close(importance, variances[0] @ variances[1] / total, rtol=5e-3, atol=1e-12)


@pytest.mark.parametrize("estimator", ["vila", "fila"])
def test_it_agrees_with_the_official_mode_of_the_package(estimator: str) -> None:
    """Two implementations, one from gradients of parameters, the other from what flows through the layers."""
    forget, retain = (reference.padded_batches(side, length=20) for side in (FORGET, RETAIN))
    passes, scaling = 10 if estimator == "vila" else 1, 2.0
    model = random_model()
    if estimator == "fila":
        maps = [fila(model, data, passes) for data in (forget, retain)]
    else:
        perturbed = reference.perturbed_model(model, RANK, scaling)
        for name, layer in perturbed.base_model.model.named_modules():
            if hasattr(layer, "lora_A"):
                drawn = Layer(name, *matrix_shape(layer.base_layer), RANK, SEED)
                layer.lora_A["default"].weight.data = drawn.gaussian(
                    "A", RANK, drawn.d_in, std=STANDARD_DEVIATION
                )
                layer.lora_B["default"].weight.data = drawn.gaussian(
                    "B", drawn.d_out, RANK, std=STANDARD_DEVIATION
                )
        maps = [vila(perturbed, data, passes) for data in (forget, retain)]
    wanted = reference.row_importance(*maps)
    found = measure_importance(
        random_model(),
        forget,
        retain,
        estimator=estimator,
        rank=RANK,
        scaling=scaling,
        seed=SEED,
        official=True,
    )
    assert found.keys() == wanted.keys()
    for name, row in found.items():
        torch.testing.assert_close(row, wanted[name], rtol=1e-2, atol=1e-6)


def test_the_one_hot_hinge_is_the_inverted_hinge_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, 7, 11, generator=generator)
    labels = torch.randint(0, 11, (2, 7), generator=generator)
    labels[0, :4] = IGNORED
    counted = labels != IGNORED
    tokens = AnswerTokens(
        logits[counted], labels[counted], torch.zeros(int(counted.sum()), dtype=torch.long), 1
    )
    wanted = forget_losses["ihl"].compute(Outputs(tokens)).mean()
    torch.testing.assert_close(reference.one_hot_hinge(logits, labels), wanted)


def test_the_first_step_has_the_loss_that_the_untouched_model_gives() -> None:
    """B is zero at first: NPO's gain is 0, so its forget loss is (2/β)·ln 2; GD's is minus the NLL."""
    forget, retain = (reference.padded_batches(side)[0] for side in (FORGET, RETAIN))
    model = random_model()
    with torch.no_grad():
        nll_forget, nll_retain = (model(**batch).loss.item() for batch in (forget, retain))
    trainer = reference.ReferenceTrainer.prepare(random_model(), "npo", rank=2)
    start = trainer.step([(forget, retain)])
    assert start == pytest.approx(2 / 0.1 * math.log(2) + nll_retain, rel=1e-4)
    assert trainer.step([(forget, retain)]) < start
    trainer = reference.ReferenceTrainer.prepare(random_model(), "gd", rank=2)
    assert trainer.step([(forget, retain)] * 2) == pytest.approx(nll_retain - nll_forget, rel=1e-4)


def test_answers_are_scored_and_written_as_one_by_one() -> None:
    model, data = random_model(), reference.padded_batches(FORGET)
    losses = reference.answer_loss(model, data)
    for example, loss in zip(FORGET, losses, strict=True):
        with torch.no_grad():
            scores = model(input_ids=torch.tensor([example.input_ids])).logits[0, :-1].log_softmax(-1)
        labels = torch.tensor(example.labels[1:])
        wanted = -scores[labels != IGNORED].gather(1, labels[labels != IGNORED][:, None]).sum()
        assert loss == pytest.approx(wanted.item(), rel=1e-4)
    prompts, end = [example.input_ids[:4] for example in FORGET], VOCABULARY - 1
    written = reference.greedy_answers(model, prompts, max_new_tokens=3, end=end)
    for prompt, answer in zip(prompts, written, strict=True):
        ids = list(prompt)
        while len(ids) < len(prompt) + 3 and ids[-1] != end:
            with torch.no_grad():
                ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        new = ids[len(prompt) :]
        assert answer[: len(new)] == new
