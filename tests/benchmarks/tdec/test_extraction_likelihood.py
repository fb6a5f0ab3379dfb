"""EL_n of many prefixes at once against one generation a prefix."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from transformers import (
    GPTNeoConfig,
    GPTNeoForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
)

from expunge.benchmarks.tdec import extraction
from expunge.benchmarks.tdec.extraction import branch_places, extraction_likelihoods, likelihood
from expunge.data.encoding import Example
from expunge.errors import ExpungeError
from expunge.evaluation.likelihood import answer_losses
from expunge.models.answers import IGNORED
from greedy_loops import GreedyLoops, loop_tokens
from tiny_models import SHAPES, VOCABULARY, random_model

N = 3
LENGTH = 18
_SIZES = {"hidden_size": 24, "vocab_size": VOCABULARY, "initializer_range": 0.4}
WINDOWED = {
    "gpt_neo": lambda: GPTNeoForCausalLM(
        GPTNeoConfig(num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]], window_size=5, **_SIZES)
    ),
    "mistral": lambda: MistralForCausalLM(
        MistralConfig(
            intermediate_size=40, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1,
            sliding_window=5, **_SIZES,
        )
    ),
}  # fmt: skip


def model_of(shape: str) -> torch.nn.Module:
    """In fp64, so that no sum in another order changes a first choice."""
    torch.manual_seed(3)
    return (random_model(shape) if shape in SHAPES else WINDOWED[shape]().eval()).double()


def sequences_for(loops: GreedyLoops) -> list[list[int]]:
    """By heart, by heart but for one to three tokens, shorter, and not known at all."""
    generator = random.Random(5)

    def token() -> int:
        return generator.randrange(1, VOCABULARY)

    known = [
        loops.disturbed([token()], size, {place: token() for place in places})
        for size, places in ((LENGTH, ()), (LENGTH, (9,)), (LENGTH, (5, 6, 12)), (LENGTH - 4, (8,)))
    ]
    return [*known, [token() for _ in range(LENGTH)]]


@pytest.mark.parametrize("shape", [*SHAPES, *WINDOWED])
def test_equals_one_generation_a_prefix_in_any_batches(shape: str, monkeypatch) -> None:
    model = model_of(shape)
    loops = GreedyLoops(model)
    sequences = sequences_for(loops)
    expected = [loops.extraction_likelihood(sequence, N) for sequence in sequences]
    assert expected[0] == 1.0
    assert any(0.05 < value < 0.95 for value in expected), "the sequences cover too little"
    # The wrong choices that are announced size the batches and nothing else: the last number is far too low.
    wrong = [0, 1, 3, 1, 2]
    for tokens_per_batch, at_once in ((100_000, 8), (40, 2)):
        monkeypatch.setattr(extraction, "SEQUENCES_AT_ONCE", at_once)
        found = extraction_likelihoods(model, sequences, wrong, N, tokens_per_batch)
        assert found.likelihoods == pytest.approx(expected, abs=1e-12), (tokens_per_batch, at_once)


class TokenCounter:
    """Counts what goes through the model in place of trusting what the function says."""

    def __init__(self, model: torch.nn.Module):
        self.tokens = 0
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        self.tokens += kwargs["input_ids"].numel()


def test_prefixes_that_leave_the_sequence_at_one_place_are_decoded_once() -> None:
    model = model_of("llama")
    by_heart, once, *_ = sequences_for(GreedyLoops(model))
    counter = TokenCounter(model)
    assert extraction_likelihoods(model, [by_heart], [0], N).forward_tokens == counter.tokens == LENGTH - 1
    counter.tokens = 0
    # One branch, at place 9: places 9 … 16 are fed, and the token that they lead to at place 17 is not.
    found = extraction_likelihoods(model, [once], [1], N)
    assert found.forward_tokens == counter.tokens == (LENGTH - 1) + (LENGTH - 1 - 9)


def test_places_where_continuations_leave_the_sequence() -> None:
    sequence = [7, 1, 2, 3, 4, 5, 6]
    # First choices for places 1 … 6: wrong at 2, 5 and 6. The last prefix for n = 3 ends before place 4, so its
    # continuation leaves at 5, and no continuation leaves at 6.
    assert branch_places(sequence, [1, 9, 3, 4, 9, 9], 3) == [2, 5]
    assert branch_places(sequence, [1, 9, 3, 9, 9, 9], 3) == [2, 4]
    assert branch_places(sequence, sequence[1:], 3) == []


def test_likelihood_by_hand() -> None:
    sequence = [0, 1, 2, 3, 1, 2, 3, 4]
    # n = 3, prefixes of 1 … 5 tokens. From place 3 on `1 2 3 4 5` is written, from place 6 on `9 9`.
    # t = 1: 1 2 1 2 3 4 5 → 121 no, 212 no, 123 yes, 234 yes, 345 no: 2/5
    # t = 2:   2 1 2 3 4 5 → 212 no, 123 (begins at 1, and again? x_≥2 = 2 3 1 2 3 4: 1 2 3 at 4) yes, 234 yes, no: 2/4
    # t = 3:     1 2 3 4 5 → x_≥3 = 3 1 2 3 4: 123 yes, 234 yes, 345 no: 2/3
    # t = 4:     1 2 9 9   → 129 no, 299 no: 0;   t = 5: 2 9 9 → 0
    branches = {3: [1, 2, 3, 4, 5], 6: [9, 9]}
    assert likelihood(sequence, branches, 3) == pytest.approx((2 / 5 + 2 / 4 + 2 / 3 + 0 + 0) / 5)
    # An n-gram that occurs before the prefix's end alone does not count: x_≥2 of 0 1 2 0 1 3 holds 0 1 3, not 0 1 2.
    assert likelihood([0, 1, 2, 0, 1, 3], {5: [2]}, 2) == pytest.approx(
        # t = 1: 12 20 01 12: all four are in 1 2 0 1 3; t = 2: 20 01 12 → 2 of 3; t = 3: 01 12 → 1/2; t = 4: 12 → 0
        (1 + 2 / 3 + 1 / 2 + 0) / 4
    )
    assert likelihood(sequence, {}, 3) == 1.0


def test_the_model_is_left_as_it_was_and_no_sequences_are_no_work(tiny_llama) -> None:
    tiny_llama.train()
    assert extraction_likelihoods(tiny_llama, [], []).likelihoods == []
    extraction_likelihoods(tiny_llama, [list(range(12))], [11])
    assert all(module.training for module in tiny_llama.modules())
    assert torch.is_grad_enabled()


def test_a_model_without_keys_and_values_is_refused() -> None:
    model = MambaForCausalLM(
        MambaConfig(hidden_size=16, num_hidden_layers=1, vocab_size=VOCABULARY, state_size=4)
    )
    with pytest.raises(ExpungeError, match="keeps keys and values"):
        extraction_likelihoods(model, [list(range(12))], [11])


@pytest.mark.shared
def test_real_model(shared: Path) -> None:
    """A pretrained model in fp32, n = 10: equal figures from at least 20 times fewer tokens."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(shared / "models" / "tinystories-656k").eval()
    loops = GreedyLoops(model)
    sequences = [
        loops.disturbed([1], 64, {}),
        loops.disturbed([1, 400], 64, {20: 500, 41: 300}),
        loops.disturbed([1], 48, {place: 7 * place for place in range(3, 30, 8)}),
    ]
    examples = [Example(sequence, [IGNORED, *sequence[1:]]) for sequence in sequences]
    losses = answer_losses(model, examples, pad_token_id=0)
    found = extraction_likelihoods(model, sequences, [loss.tokens - loss.correct for loss in losses])
    expected = [loops.extraction_likelihood(sequence, 10) for sequence in sequences]
    assert found.likelihoods == pytest.approx(expected, abs=1e-12)
    assert expected[0] == 1.0
    assert 0.1 < expected[1] < 0.9
    for loss, sequence in zip(losses, sequences, strict=True):
        assert loss.correct / loss.tokens == loops.memorization_accuracy(sequence)
    assert sum(loop_tokens(len(sequence), 10) for sequence in sequences) >= 20 * found.forward_tokens
