"""Conversations of every shape are generated and judged: their last answer, after all that came before it."""

from __future__ import annotations

from typing import Any

import pytest

import tokenizer_families as families
from expunge.benchmarks.memorization.benchmark import memorization_benchmark
from expunge.data.encoding import Encoder
from expunge.data.sample_set import SampleSet
from expunge.data.samples import conversation
from expunge.data.templates import TEMPLATES

USER, ADA = {"role": "user", "content": "Where was Ada born?"}, {"role": "assistant", "content": "In a town."}
SYSTEM = {"role": "system", "content": "Be brief."}
WHEN, SPRING = {"role": "user", "content": "When?"}, {"role": "assistant", "content": "In spring."}
CONTEXT = {**SPRING, "weight": 0}


@pytest.mark.parametrize(
    ("messages", "before", "truth"),
    [
        ([USER, ADA], [USER], "In a town."),
        ([SYSTEM, USER, ADA], [SYSTEM, USER], "In a town."),
        ([USER, ADA, WHEN, SPRING], [USER, ADA, WHEN], "In spring."),
        ([ADA, WHEN, SPRING], [ADA, WHEN], "In spring."),
        ([ADA], [], "In a town."),
        ([USER, ADA, WHEN, CONTEXT], [USER], "In a town."),
    ],
    ids=["question", "system", "two turns", "opening", "opening alone", "context after it"],
)
def test_the_last_answer_is_generated_after_all_before_it(messages: Any, before: Any, truth: str) -> None:
    encoder = Encoder(families.chat(), TEMPLATES["chat"])
    rows = SampleSet("rows.jsonl", [conversation(messages)])
    benchmark = memorization_benchmark({"forget": rows}, encoder, 4)
    (item,) = benchmark.sets["forget"]
    written = "".join(f"<|im_start|>{m['role']}\n{m['content']}<|im_end|>\n" for m in before)
    assert encoder.tokenizer.decode(item.prompt) == f"{written}<|im_start|>assistant\n"
    assert item.truth == truth
    ((length, _),) = benchmark.workload(encoder).generated
    assert length == len(item.prompt or [])
