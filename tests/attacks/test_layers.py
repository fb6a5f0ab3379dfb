"""The unlearning depth score and the logit lens, against a literal procedure: one answer and one layer at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from expunge.attacks.layers import lens_log_probability, patched_log_probability, unlearning_depth
from expunge.data.encoding import Example
from expunge.models.answers import IGNORED
from tiny_models import VOCABULARY, random_model

#: Where a family keeps its blocks, its last norm and its output embedding: the tests look nothing up.
PLACES: dict[str, Callable[[Any], tuple[Any, Any, Any]]] = {
    "llama": lambda model: (model.model.layers, model.model.norm, model.lm_head),
    "gpt2": lambda model: (model.transformer.h, model.transformer.ln_f, model.lm_head),
    "gpt_neox": lambda model: (
        model.gpt_neox.layers,
        model.gpt_neox.final_layer_norm,
        model.get_output_embeddings(),
    ),
}


def answers(original: Any) -> list[Example]:
    """What the original says after some prompts, 1 to 6 tokens; of the last answer one token does not count."""
    generator = torch.Generator().manual_seed(3)
    examples = []
    for prompt, answer in ((3, 4), (2, 1), (4, 6), (3, 2), (2, 6)):
        ids = torch.randint(1, VOCABULARY, (prompt,), generator=generator).tolist()
        for _ in range(answer):
            ids.append(int(original(torch.tensor([ids])).logits[0, -1].argmax()))
        examples.append(Example(ids, [IGNORED] * prompt + ids[prompt:]))
    examples[-1].labels[4] = IGNORED
    return examples


def changed(shape: str, size: float) -> Any:
    """The same model with other weights in its blocks, as unlearning or another training leaves it."""
    model = random_model(shape)
    generator = torch.Generator().manual_seed(7)
    for weight in model.parameters():
        weight.data += size * torch.randn(weight.shape, generator=generator) * weight.data.std().nan_to_num()
    return model


def literally(
    shape: str, original: Any, source: Any, example: Example, layer: int
) -> tuple[float, float, float]:
    """(mean log p under the original, after patching block `layer`, read by the lens there) of one answer."""
    ids = torch.tensor([example.input_ids])
    blocks, norm, head = PLACES[shape](source)
    kept: dict[str, Tensor] = {}

    def keep(_module: Any, _inputs: Any, output: Any) -> None:
        kept["states"] = output[0] if isinstance(output, tuple) else output

    hook = blocks[layer].register_forward_hook(keep)
    source(ids)
    hook.remove()
    places = [place for place, label in enumerate(example.labels) if label != IGNORED]

    def patch(_module: Any, _inputs: Any, output: Any) -> Any:
        states = (output[0] if isinstance(output, tuple) else output).clone()
        for place in places:
            states[0, place - 1] = kept["states"][0, place - 1]
        return (states, *output[1:]) if isinstance(output, tuple) else states

    def mean(logits: Tensor) -> float:
        log_p = logits[0].log_softmax(-1)
        return sum(log_p[place - 1, example.input_ids[place]].item() for place in places) / len(places)

    blocks, norm, head = PLACES[shape](original)
    unchanged = mean(original(ids).logits)
    hook = blocks[layer].register_forward_hook(patch)
    patched = mean(original(ids).logits)
    hook.remove()
    return unchanged, patched, mean(head(norm(kept["states"])))


def score_literally(lost: list[float], by_reference: list[float]) -> float:
    """Equations 4 to 6, written out."""
    layers = [layer for layer, delta in enumerate(by_reference) if delta > 0.05]
    if not layers:
        return math.nan
    ratios = {layer: min(max(lost[layer] / by_reference[layer], 0.0), 1.0) for layer in layers}
    return sum(by_reference[layer] * ratios[layer] for layer in layers) / sum(
        by_reference[layer] for layer in layers
    )


@pytest.mark.parametrize("shape", PLACES)
@torch.no_grad()
def test_readings_and_scores_are_those_of_a_literal_procedure(shape: str) -> None:
    models = [model.double() for model in (random_model(shape), changed(shape, 0.3), changed(shape, 0.8))]
    original, unlearned, reference = models
    examples = answers(original)
    own = np.array([literally(shape, original, original, example, 0)[0] for example in examples])
    lost, expected = {}, {}
    for name, source in (("unlearned", unlearned), ("reference", reference)):
        patched = patched_log_probability(original, source, examples, 0)
        lens = lens_log_probability(original, source, examples, 0)
        slow = np.array(
            [
                [literally(shape, original, source, example, layer)[1:] for layer in range(2)]
                for example in examples
            ]
        )
        np.testing.assert_allclose(patched, slow[:, :, 0], rtol=1e-6)
        np.testing.assert_allclose(lens, slow[:, :, 1], rtol=1e-6)
        lost[name], expected[name] = own[:, None] - patched, own[:, None] - slow[:, :, 0]
    scores = unlearning_depth(lost["unlearned"], lost["reference"])
    literal = [
        score_literally(*pair) for pair in zip(*(rows.tolist() for rows in expected.values()), strict=True)
    ]
    np.testing.assert_allclose(scores, literal, atol=1e-6)
    assert 0 < np.nanmean(scores) < 1


@torch.no_grad()
def test_the_reference_is_at_depth_1_and_the_original_at_0() -> None:
    original, reference = random_model(), changed("llama", 0.3)
    examples = answers(original)
    own = patched_log_probability(original, original, examples, 0)
    lost = own[:, :1] - patched_log_probability(original, reference, examples, 0)
    scores = unlearning_depth(lost, lost)
    assert np.isfinite(scores).sum() >= 3
    assert (scores[np.isfinite(scores)] == 1).all()
    assert np.ptp(own, axis=1).max() < 1e-6  # its own states change nothing, on any layer
    assert (np.nan_to_num(unlearning_depth(own[:, :1] - own, lost)) < 1e-4).all()


def test_scores_by_hand() -> None:
    by_reference = np.array([[0.04, 1.0, 3.0], [0.05, 0.01, 0.0], [0.0, 2.0, 0.0]])
    lost = np.array([[9.0, 0.5, 4.0], [1.0, 1.0, 1.0], [0.0, -1.0, 0.0]])
    scores = unlearning_depth(lost, by_reference)
    # (1 · 0.5 + 3 · 1) / 4; no layer over τ; a layer that patching improved.
    np.testing.assert_allclose(scores, [0.875, math.nan, 0.0])


@torch.no_grad()
def test_models_are_left_as_they_were() -> None:
    original, source = random_model(), changed("llama", 0.1)
    before = original(torch.tensor([[1, 2, 3]])).logits
    examples = answers(original)
    original.train()
    patched_log_probability(original, source, examples, 0)
    assert original.training
    assert not source.training
    assert torch.equal(original(torch.tensor([[1, 2, 3]])).logits, before)
    assert not any(module._forward_hooks for model in (original, source) for module in model.modules())
