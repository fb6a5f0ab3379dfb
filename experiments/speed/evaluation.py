"""TOFU's evaluation: the teacher-forced pass and the generation, against the research code's way.

    python experiments/speed/evaluation.py --samples 20

On `tofu-tiny/full`, a trained model of 2.4 M parameters, because what it knows decides what has to be generated. Ours:
answers sorted by length, answer positions only, one pass for all metrics; generation in batches of like length, and
only of what the pass has not settled. The reference (`reference_procedure.py`): every answer padded to 500 tokens in
batches of 4 through full logits; every answer generated, in batches of 4 as they come. EL₁₀ has a benchmark of its own,
`extraction_likelihood.py`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import reference_procedure as reference
import torch
from side_by_side import Spread, Variant, in_turn, on_the_cpu, parser, ratio, write
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge.benchmarks.tofu.benchmark import TofuBenchmark
from expunge.data.encoding import Encoder, Example
from expunge.evaluation.log import EvaluationLog

REFERENCE_BATCHES = 4
COLUMNS = ["variant", "seconds", "reference ÷ it", "note"]


def examples(benchmark: TofuBenchmark, encoder: Encoder) -> list[Example]:
    """Every answer that is measured, as the benchmark orders them."""
    return [
        encoder.answer(question.question, answer)
        for part in benchmark.sets.values()
        for question in part
        for answer in (
            question.answer,
            *([question.paraphrased] if question.paraphrased is not None else []),
            *question.perturbed,
        )
    ]


def main() -> None:
    made = parser(__doc__, "evaluation", repetitions=2)
    made.add_argument("--shared", type=Path, default=Path("../shared"))
    made.add_argument("--samples", type=int, default=20, help="questions of each set but the forget set")
    options = made.parse_args()
    on_the_cpu()
    torch.set_num_threads(options.threads)
    folder = options.shared / "models" / "tofu-tiny" / "full"
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    encoder = Encoder(AutoTokenizer.from_pretrained(folder))
    benchmark = TofuBenchmark(options.shared / "data" / "tofu", "forget01", samples=options.samples)
    measured = examples(benchmark, encoder)
    prompts = [encoder.prompt(question.question) for part in benchmark.sets.values() for question in part]
    padded = reference.padded_batches(measured)
    every = len(padded) // REFERENCE_BATCHES
    log: list[EvaluationLog] = []
    chosen = {
        "teacher-forced": Variant(lambda: log.append(benchmark.measure(model, encoder))),
        "teacher-forced, reference": Variant(
            lambda: reference.answer_loss(model, padded[::every][:REFERENCE_BATCHES]),
            scale=len(padded) / REFERENCE_BATCHES,
            note=f"{REFERENCE_BATCHES} of {len(padded)} batches timed",
        ),
        "generation": Variant(lambda: benchmark.generate(model, encoder, log[-1])),
        "generation, reference": Variant(
            lambda: reference.greedy_answers(
                model, prompts, benchmark.max_new_tokens, encoder.tokenizer.eos_token_id
            )
        ),
    }
    seconds = in_turn(chosen, options.repetitions)
    rows: list[dict[str, Any]] = []
    for name, variant in chosen.items():
        row: dict[str, Any] = {"variant": name, "seconds": Spread.of(seconds[name]), "note": variant.note}
        if f"{name}, reference" in chosen:
            row["reference ÷ it"] = ratio(seconds, f"{name}, reference", name)
        rows.append(row)
    workload = {
        "model": "tofu-tiny/full",
        "questions": len(prompts),
        "answers": len(measured),
        "tokens": sum(len(example) for example in measured),
        "known word for word": sum(
            record.correct == record.answer.tokens for part in log[-1].sets.values() for record in part
        ),
    }
    write(options, COLUMNS, rows, workload)


if __name__ == "__main__":
    main()
