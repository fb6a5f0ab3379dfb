"""Which sequences share a forward pass, and that one pass serves every metric without generation."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from expunge.benchmarks.benchmark import Benchmark
from expunge.benchmarks.memorization.benchmark import memorization_benchmark
from expunge.benchmarks.tdec.benchmark import TdecBenchmark
from expunge.benchmarks.tdec.files import TokenSequence
from expunge.benchmarks.tofu.benchmark import TofuBenchmark
from expunge.data.encoding import Encoder
from expunge.data.samples import QuestionAnswer
from expunge.data.sets import SampleSet
from expunge.evaluation.generation import continuations
from expunge.evaluation.inference import batches_by_length
from tofu_files import write_tofu


@pytest.mark.parametrize("extra", [0, 30])
def test_batches_are_of_like_length_and_within_their_bound(extra: int) -> None:
    generator = random.Random(0)
    lengths = [generator.randint(1, 50) for _ in range(200)]
    batches = batches_by_length(lengths, 400, extra)
    assert sorted(index for batch in batches for index in batch) == list(range(200))
    order = [lengths[index] for batch in batches for index in batch]
    assert order == sorted(lengths, reverse=True)
    for batch, following in zip(batches, [*batches[1:], []], strict=True):
        longest = lengths[batch[0]] + extra
        assert len(batch) * longest <= 400
        if following:  # one more row would have been too many
            assert (len(batch) + 1) * longest > 400
    assert batches_by_length([500, 2], 100) == [[0], [1]]  # longer than a batch: alone
    assert batches_by_length([], 100) == []


def test_generation_is_in_batches_of_like_length(tiny_llama, word_tokenizer, forward_shapes) -> None:
    prompts = [[5] * length for length in (2, 9, 3, 8)]
    continuations(tiny_llama, word_tokenizer, prompts, 3, tokens_per_batch=24)
    assert [shape for shape in forward_shapes if shape[1] > 1] == [(2, 9), (2, 3)]


@pytest.fixture
def forward_shapes(tiny_llama) -> list[tuple[int, int]]:
    """(rows, tokens) of every forward pass from now on."""
    shapes: list[tuple[int, int]] = []
    tiny_llama.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(tuple(kwargs["input_ids"].shape)), with_kwargs=True
    )
    return shapes


def memorization(encoder: Encoder, folder: str) -> Benchmark:
    sets = {
        side: SampleSet(side, [QuestionAnswer(f"w{start} w9", f"w{number} w5") for number in range(3, 6)])
        for start, side in enumerate(("forget", "retain", "holdout"), start=10)
    }
    return memorization_benchmark(sets, encoder, 4)


def tdec(encoder: Encoder, folder: str) -> Benchmark:
    return TdecBenchmark([TokenSequence(tuple(range(3, 27)))] * 3, [], encoder, {"path": "x"})


def tofu(encoder: Encoder, folder: str) -> Benchmark:
    return TofuBenchmark(write_tofu(folder), "forget01")


@pytest.mark.parametrize(
    ("make", "rows"),
    [
        (memorization, [3, 3, 3]),  # a set after the other: loss, EM, ES and the scores of four attacks
        (tdec, [3]),
        (tofu, [3 * 7 + 2 * 6 + 5 * 4]),  # answers, paraphrased and wrong ones of all four sets
    ],
)
def test_one_teacher_forced_pass_serves_every_metric(
    make: Callable[[Encoder, str], Benchmark], rows: list[int], tiny_llama, encoder, tmp_path, forward_shapes
) -> None:
    benchmark = make(encoder, tmp_path)
    benchmark.metrics(benchmark.measure(tiny_llama, encoder), None)
    assert [shape[0] for shape in forward_shapes] == rows
