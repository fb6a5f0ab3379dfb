"""The part of a benchmark that is about the forget set: the same records, and nothing of the other sets."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from expunge.benchmarks.benchmark import Benchmark
from expunge.benchmarks.memorization.benchmark import memorization_benchmark
from expunge.benchmarks.tdec.benchmark import TdecBenchmark
from expunge.benchmarks.tdec.files import TokenSequence
from expunge.benchmarks.tofu.benchmark import TofuBenchmark
from expunge.data.encoding import Encoder
from expunge.data.samples import QuestionAnswer
from expunge.data.sets import SampleSet
from tofu_files import write_tofu


def memorization(encoder: Encoder, folder: Path) -> Benchmark:
    sets = {
        side: SampleSet(
            side, [QuestionAnswer(f"w{start} w9 w{number}", f"w{number} w{start}") for number in range(3, 6)]
        )
        for start, side in enumerate(("forget", "retain", "holdout"), start=10)
    }
    return memorization_benchmark(sets, encoder, 4)


def tdec(encoder: Encoder, folder: Path) -> Benchmark:
    sequences = [TokenSequence(tuple(range(start, start + 24))) for start in (3, 17, 31)]
    return TdecBenchmark(sequences[:2], sequences[2:], encoder, {"path": "x"})


def tofu(encoder: Encoder, folder: Path) -> Benchmark:
    return TofuBenchmark(write_tofu(folder), "forget01", max_new_tokens=4)


def assert_same(one: Any, other: Any) -> None:
    """Equal in structure and in every value, floats to five digits."""
    assert type(one) is type(other)
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            assert_same(mine, theirs)
    else:
        assert one == (pytest.approx(other, rel=1e-5, abs=1e-6) if isinstance(one, float) else other)


@pytest.mark.parametrize("make", [memorization, tdec, tofu])
def test_the_forget_set_alone_is_measured(
    make: Any, tiny_llama: Any, encoder: Encoder, tmp_path: Path
) -> None:
    benchmark = make(encoder, tmp_path)
    whole = benchmark.evaluate(tiny_llama, encoder)
    part = benchmark.forget_part().evaluate(tiny_llama, encoder)
    # Other sets share the batches of the whole, which moves the last digit of a loss on some processors.
    assert len(part.sets["forget"]) == len(whole.sets["forget"]) > 0
    for alone, together in zip(part.sets["forget"], whole.sets["forget"], strict=True):
        assert_same(asdict(alone), asdict(together))
    # The holdout is what the forget set is compared with, by the same model.
    assert {name for name, records in part.sets.items() if records} == {
        "forget",
        "holdout",
    } & part.sets.keys()
    assert part.sets.keys() == whole.sets.keys()
    assert all(benchmark.sets.values())  # the benchmark itself is as it was
