"""Reading answers out of hidden states: all of it where only the output hides it, none in the reference."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from expunge.attacks.attack import Item, Subject
from expunge.attacks.depth import Depth
from expunge.data.encoding import Encoder, collate
from expunge.data.samples import QuestionAnswer


@pytest.fixture
def items(encoder: Encoder) -> list[Item]:
    samples = [QuestionAnswer(f"w{place}", f"w{place + 20} w{place + 30}") for place in range(4, 10)]
    return [Item(sample, *sample.encode(encoder)) for sample in samples]


@pytest.fixture
def taught(tiny_llama: Any, items: list[Item]) -> Any:
    model = copy.deepcopy(tiny_llama)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    batch = collate([item.example for item in items], pad_token_id=0)
    for _ in range(40):
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def scores(
    model: Any, items: list[Item], encoder: Encoder, attack: Depth, **models: Any
) -> dict[str, np.ndarray]:
    loaders: dict[str, Callable[[], Any]] = {name: (lambda one=one: one) for name, one in models.items()}
    subject = Subject(model, encoder, items, **loaders)
    assert attack.unfit(subject) is None
    return {one.measure: np.array(one.score(model, items)) for one in attack.variants(subject) if one.score}


def test_what_only_the_output_hides_is_all_there_and_in_the_reference_nothing_is(
    tiny_llama: Any, taught: Any, items: list[Item], encoder: Encoder
) -> None:
    masked = copy.deepcopy(taught)
    masked.lm_head.weight.data = masked.lm_head.weight.data.flip(0)
    attack, models = Depth(), {"original": taught, "reference": tiny_llama}
    found = {
        name: scores(model, items, encoder, attack, **models)
        for name, model in (("masked", masked), ("reference", tiny_llama), ("original", taught))
    }
    np.testing.assert_allclose(found["masked"]["one_minus_uds"], 1, atol=1e-5)
    np.testing.assert_allclose(found["original"]["one_minus_uds"], 1, atol=1e-5)
    np.testing.assert_array_equal(found["reference"]["one_minus_uds"], 0)
    lens = {name: values["lens_probability"] for name, values in found.items()}
    np.testing.assert_array_equal(lens["masked"], lens["original"])
    assert lens["original"].mean() > 0.8
    assert lens["reference"].mean() < 0.1


def test_without_a_reference_the_lens_alone_reads(taught: Any, items: list[Item], encoder: Encoder) -> None:
    assert list(scores(taught, items, encoder, Depth(), original=taught)) == ["lens_probability"]
    assert Depth().unfit(Subject(taught, encoder, items)) == "the original model, which reads, is not there"
