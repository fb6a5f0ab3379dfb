"""The part of a benchmark that is about the forget set: the same records, and nothing of the other sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tofu_files import write_tofu

from expunge.data.encoding import Encoder
from expunge.data.samples import QuestionAnswer
from expunge.data.sets import SampleSet
from expunge.data.tdec import TokenSequence
from expunge.evaluation.benchmark import Benchmark
from expunge.evaluation.memorization import memorization_benchmark
from expunge.evaluation.tdec.benchmark import TdecBenchmark
from expunge.evaluation.tofu.benchmark import TofuBenchmark


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


@pytest.mark.parametrize("make", [memorization, tdec, tofu])
def test_the_forget_set_alone_is_measured(
    make: Any, tiny_llama: Any, encoder: Encoder, tmp_path: Path
) -> None:
    benchmark = make(encoder, tmp_path)
    whole = benchmark.evaluate(tiny_llama, encoder)
    part = benchmark.forget_part().evaluate(tiny_llama, encoder)
    assert part.sets["forget"] == whole.sets["forget"]
    assert {name for name, records in part.sets.items() if records} == {"forget"}
    assert part.sets.keys() == whole.sets.keys()
    assert all(benchmark.sets.values())  # the benchmark itself is as it was
