"""Samples against a loop of one prompt at a time, without cache, padding or rounds."""

from __future__ import annotations

from itertools import accumulate

import numpy as np
import pytest
import torch
from test_greedy_generation import end_early

from expunge.evaluation import generation
from expunge.evaluation.sampling import InverseTransform, sampled_continuations

LIMIT = 12


@pytest.fixture
def prompts() -> list[list[int]]:
    return [[5, 9, 11], [7], [3, 4, 5, 6, 7, 8, 9], [7], [12, 13]]


@pytest.fixture
def flat_llama(tiny_llama):
    """Of flatter predictions: many tokens have a chance, <end> about one in sixty."""
    tiny_llama.lm_head.weight.data.mul_(0.1)
    return tiny_llama


SEEDS = [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]


def sample_alone(
    model: torch.nn.Module, prompt: list[int], seed: tuple[int, ...], limit: int, temperature: float = 1.0
) -> list[int]:
    """By the definition: the first token at which the cumulative probability passes the random number."""
    ids = list(prompt)
    for number in np.random.default_rng(list(seed)).random(limit, dtype=np.float32).tolist():
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, -1].double()
        probabilities = (logits / temperature).softmax(-1)
        sums = accumulate(probabilities.tolist())
        token = next(token for token, passed in enumerate(sums) if passed > number)
        ids.append(token)
        if token == 0:
            break
    return ids[len(prompt) :]


@pytest.mark.parametrize(
    ("tokens_per_batch", "tokens_a_round"), [(1, 64), (80, 5), (100_000, 1), (100_000, 4)]
)
def test_equals_sampling_alone(
    tiny_llama, word_tokenizer, prompts, tokens_per_batch, tokens_a_round, monkeypatch
) -> None:
    monkeypatch.setattr(generation, "ROUND", tokens_a_round)
    end_early(tiny_llama, prompts[2])
    tiny_llama.lm_head.weight.data.mul_(0.3)  # flatter: more than one token has a chance
    limits = [LIMIT, 3, LIMIT, 0, 30]
    alone = [
        sample_alone(tiny_llama, *each) if each[2] else []
        for each in zip(prompts, SEEDS, limits, strict=True)
    ]
    ended = [bool(ids) and ids[-1] == 0 for ids in alone]
    assert True in ended, "no sample ends"
    assert {len(ids) for ids in alone} & {LIMIT, 3, 30}, "none is cut off"
    found = sampled_continuations(tiny_llama, word_tokenizer, prompts, SEEDS, limits, tokens_per_batch)
    assert [each.ids for each in found] == [
        ids[:-1] if end else ids for ids, end in zip(alone, ended, strict=True)
    ]
    assert [each.ended for each in found] == ended


@pytest.mark.parametrize("temperature", [0.5, 2.0])
def test_at_a_temperature(flat_llama, word_tokenizer, prompts, temperature) -> None:
    limits = [LIMIT] * len(prompts)
    found = sampled_continuations(flat_llama, word_tokenizer, prompts, SEEDS, limits, temperature=temperature)
    wanted = [
        [token for token in sample_alone(flat_llama, prompt, seed, LIMIT, temperature) if token]
        for prompt, seed in zip(prompts, SEEDS, strict=True)
    ]
    assert [each.ids for each in found] == wanted
    assert wanted != [
        [token for token in sample_alone(flat_llama, prompt, seed, LIMIT) if token]
        for prompt, seed in zip(prompts, SEEDS, strict=True)
    ]


def test_the_same_prompt_with_another_seed_is_another_sample(flat_llama, word_tokenizer) -> None:
    def sample(*seeds: tuple[int, ...]) -> list[list[int]]:
        count = len(seeds)
        found = sampled_continuations(flat_llama, word_tokenizer, [[5, 6]] * count, seeds, [LIMIT] * count)
        return [each.ids for each in found]

    first, second, third = sample((1, 0), (1, 1), (2, 0))
    assert first != second
    assert first != third
    assert sample((1, 0)) == [first]


def test_a_stop_token_ends_a_sample(flat_llama, word_tokenizer, prompts) -> None:
    whole = sampled_continuations(flat_llama, word_tokenizer, prompts[:1], SEEDS[:1], [LIMIT])[0].ids
    (cut,) = sampled_continuations(
        flat_llama, word_tokenizer, prompts[:1], SEEDS[:1], [LIMIT], stops=[whole[4]]
    )
    assert cut.ids == whole[: whole.index(whole[4])]
    assert cut.ended


def test_frequencies_are_the_probabilities() -> None:
    """A thousand numbers spread evenly over [0, 1) draw each token as often as its probability says."""
    probabilities = torch.tensor([0.05, 0.0, 0.6, 0.35, 0.0])
    numbers = (torch.arange(1000) + 0.5)[:, None] / 1000
    choose = InverseTransform(numbers, width=2)
    scores = choose(torch.zeros(1000, 2, dtype=torch.long), probabilities.log().expand(1000, -1))
    assert scores.isfinite().sum(-1).eq(1).all()
    assert scores.argmax(-1).bincount(minlength=5).tolist() == [50, 0, 600, 350, 0]


def test_the_largest_number_draws_a_token_that_has_a_probability() -> None:
    """0.1 ten times is not 1 in fp32; the last token, which has none, must not be what is left over."""
    logits = torch.tensor([[0.0] * 10 + [-torch.inf]])
    largest = torch.tensor([[1 - 2.0**-24]])
    scores = InverseTransform(largest, width=0)(torch.zeros(1, 0, dtype=torch.long), logits)
    assert scores.argmax(-1).tolist() == [9]
