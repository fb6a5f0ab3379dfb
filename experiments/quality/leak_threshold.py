"""Which ROUGE-L recall of an answer is a leak: samples of a model that knows it, and of one that never saw it.

    python experiments/quality/leak_threshold.py QUESTIONS KNOWING REFERENCE [--samples 8] [--items 20]

QUESTIONS is a file of TOFU's rows. Prints, as Markdown, the share of each model's samples whose recall is at least the
threshold. The table in docs/attacks-prompts.md is made of it.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from expunge.adapters.loading import load_model
from expunge.attacks.items import drawn
from expunge.attacks.measuring import BEYOND_TRUTH
from expunge.data.encoding import Encoder
from expunge.data.rows import read_file
from expunge.data.templates import choose_template
from expunge.evaluation.rouge import rouge_scores
from expunge.evaluation.sampling import sampled_continuations
from expunge.models.loading import load_tokenizer
from expunge.models.settings import Model

THRESHOLDS = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
TEMPERATURES = (1.0, 0.7)


def recalls(path: str, rows: list[dict[str, str]], samples: int, temperature: float) -> list[float]:
    """The recall of every sample of every question."""
    model = Model(path=path, dtype="float32")
    tokenizer = load_tokenizer(model)
    encoder = Encoder(tokenizer, choose_template("auto", tokenizer))
    asked = [(number, row) for number, row in enumerate(rows) for _ in range(samples)]
    written = sampled_continuations(
        load_model(model),
        tokenizer,
        [encoder.prompt(row["question"]) for _, row in asked],
        [(0, number, place % samples) for place, (number, _) in enumerate(asked)],
        [encoder.answer(row["question"], row["answer"]).label_count + BEYOND_TRUTH for _, row in asked],
        temperature=temperature,
    )
    texts = [tokenizer.decode(each.ids, skip_special_tokens=True) for each in written]
    truths = [row["answer"] for _, row in asked]
    return [score.rougeL_recall for score in rouge_scores(zip(truths, texts, strict=True))]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("questions", type=Path)
    parser.add_argument("knowing")
    parser.add_argument("reference")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--items", type=int, default=20)
    options = parser.parse_args()
    rows = drawn(read_file(options.questions, "questions"), options.items, seed=0)
    print("| model | T | " + " | ".join(f"≥ {threshold}" for threshold in THRESHOLDS) + " |")
    print("| --- | --- |" + " ---: |" * len(THRESHOLDS))
    for name in ("knowing", "reference"):
        for temperature in TEMPERATURES:
            found = recalls(getattr(options, name), rows, options.samples, temperature)
            shares = (sum(recall >= threshold for recall in found) / len(found) for threshold in THRESHOLDS)
            print(
                f"| {name} | {temperature:g} | " + " | ".join(f"{share:.3f}" for share in shares) + " |",
                flush=True,
            )


if __name__ == "__main__":
    main()
