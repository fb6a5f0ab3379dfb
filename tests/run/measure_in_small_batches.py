"""Evaluate a model on two benchmarks, in batches so small that several processes each get some.

    python measure_in_small_batches.py MODEL FORGET TDEC OUTPUT

Writes the logs, and for each process how many tokens went through its model.
"""

from __future__ import annotations

import os
import sys
from functools import partial
from pathlib import Path

from transformers import LlamaForCausalLM

from expunge.benchmarks.evaluate import EvaluationRequest, evaluate_model
from expunge.benchmarks.tdec import extraction
from expunge.evaluation import generation, likelihood


def main(model: str, forget: str, tdec: str, output: Path) -> None:
    likelihood.TOKENS_PER_BATCH["cpu"] = 100
    generation.greedy_continuations = partial(generation.greedy_continuations, tokens_per_batch=60)
    extraction.SEQUENCES_AT_ONCE = 1
    fed = []
    forward = LlamaForCausalLM.forward

    def counted(self, input_ids, **others):
        fed.append(input_ids.numel())
        return forward(self, input_ids=input_ids, **others)

    LlamaForCausalLM.forward = counted
    options_of = {"memorization": {"forget": forget, "max_new_tokens": 4}, "tdec": {"data": tdec}}
    for benchmark, options in options_of.items():
        fed.clear()
        evaluate_model(EvaluationRequest(model, benchmark, options, output=output / f"{benchmark}.json"))
        (output / f"{benchmark}-{os.environ.get('RANK', 0)}.txt").write_text(str(sum(fed)))


if __name__ == "__main__":
    main(*sys.argv[1:4], Path(sys.argv[4]))
