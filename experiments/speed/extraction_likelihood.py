"""EL₁₀ of whole sequences: all prefixes at once against one `generate` for each prefix, measured in turns.

    python experiments/speed/extraction_likelihood.py --model ../shared/models/tinystories-656k --output results/el.json

The sequences are the model's own: text that it has by heart, the same with a foreign token in every 20th place, and
text that it drew at temperature 1, which it has not by heart. Each repetition runs both ways on each kind; they must
give the same figures, or the script fails. Tokens are counted where they go through the model. A loop that keeps no
cache at all feeds the whole text at every step; its tokens follow from the length and are not run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import GenerationConfig, set_seed

from expunge.adapters.loading import load_model
from expunge.benchmarks.tdec.extraction import NGRAM, extraction_likelihoods
from expunge.folder.machine import machine, versions
from expunge.models.loading import load_tokenizer
from expunge.models.processes import device
from expunge.models.settings import Model
from expunge.storage import write_json

FOREIGN_EVERY = 20


class Reader:
    """The model, and how many tokens went through it."""

    def __init__(self, model: Any):
        self.model = model
        self.tokens = 0
        # No end-of-sequence token: a continuation has as many tokens as the sequence has left.
        model.generation_config = GenerationConfig(eos_token_id=None, pad_token_id=0)
        model.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: Any, args: tuple, kwargs: dict[str, Any]) -> None:
        self.tokens += kwargs["input_ids"].numel()

    def write(self, start: list[int], length: int, **settings: Any) -> list[int]:
        """Continue `start` to `length` tokens, by default greedily."""
        if len(start) >= length:
            return start[:length]
        ids = torch.tensor([start], device=self.model.device)
        settings = {"do_sample": False, **settings, "max_new_tokens": length - len(start)}
        return self.model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0].tolist()

    def first_choices(self, sequence: list[int]) -> list[int]:
        with torch.inference_mode():
            ids = torch.tensor([sequence[:-1]], device=self.model.device)
            return self.model(input_ids=ids, use_cache=False).logits[0].argmax(dim=-1).tolist()


def sequences(reader: Reader, start: int, length: int, count: int) -> dict[str, list[list[int]]]:
    """Kind → `count` sequences. Those known by heart begin with different second tokens."""
    vocabulary = reader.model.config.vocab_size
    found: dict[str, list[list[int]]] = {"by heart": [], "by heart but for every 20th token": [], "drawn": []}
    for number in range(count):
        beginning = [start, vocabulary // 4 + number]
        found["by heart"].append(reader.write(beginning, length))
        ids = beginning
        for place in range(FOREIGN_EVERY, length, FOREIGN_EVERY):
            ids = [*reader.write(ids, place), vocabulary // 2 + place]
        found["by heart but for every 20th token"].append(reader.write(ids, length))
        found["drawn"].append(reader.write(beginning, length, do_sample=True, top_k=0, temperature=1.0))
    return found


def one_by_one(reader: Reader, texts: list[list[int]]) -> list[float]:
    """A generation for each prefix, as `generate` does it: with a key-value cache of its own."""
    found = []
    for text in texts:
        total = 0.0
        for prefix in range(1, len(text) - NGRAM + 1):
            written = reader.write(text[:prefix], len(text))[prefix:]
            grams = [tuple(written[at : at + NGRAM]) for at in range(len(written) - NGRAM + 1)]
            there = {tuple(text[at : at + NGRAM]) for at in range(prefix, len(text) - NGRAM + 1)}
            total += sum(gram in there for gram in grams) / len(grams)
        found.append(total / (len(text) - NGRAM))
    return found


def at_once(reader: Reader, texts: list[list[int]], wrong: list[int]) -> list[float]:
    return extraction_likelihoods(reader.model, texts, wrong).likelihoods


def timed(reader: Reader, work: Callable[[], list[float]]) -> tuple[list[float], float, int]:
    """What `work` found, its seconds, and its tokens."""
    reader.tokens = 0
    start = time.perf_counter()
    found = work()
    return found, time.perf_counter() - start, reader.tokens


def compare(reader: Reader, texts: list[list[int]], repetitions: int) -> dict[str, Any]:
    choices = [reader.first_choices(text) for text in texts]
    wrong = [sum(map(int.__ne__, row, text[1:])) for row, text in zip(choices, texts, strict=True)]
    fast_seconds, slow_seconds, ratios = [], [], []
    for _ in range(repetitions):
        fast, seconds, fast_tokens = timed(reader, lambda: at_once(reader, texts, wrong))
        slow, other_seconds, slow_tokens = timed(reader, lambda: one_by_one(reader, texts))
        if max(abs(a - b) for a, b in zip(fast, slow, strict=True)) > 1e-9:
            raise SystemExit(f"The figures differ: {fast} and {slow}.")
        fast_seconds.append(seconds)
        slow_seconds.append(other_seconds)
        ratios.append(other_seconds / seconds)
    length = len(texts[0])
    uncached = sum(sum(range(prefix, length)) for prefix in range(1, length - NGRAM + 1)) * len(texts)
    return {
        "sequences": len(texts),
        "extraction_likelihood": statistics.mean(fast),
        "memorization_accuracy": 1 - statistics.mean(wrong) / (length - 1),
        "tokens": {"at_once": fast_tokens, "generate": slow_tokens, "loop_without_cache": uncached},
        "fewer_tokens": {"generate": slow_tokens / fast_tokens, "loop_without_cache": uncached / fast_tokens},
        "seconds": {"at_once": fast_seconds, "generate": slow_seconds},
        "times_as_fast": {"median": statistics.median(ratios), "lowest": min(ratios), "highest": max(ratios)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", default="../shared/models/tinystories-656k")
    parser.add_argument("--length", type=int, default=200, help="tokens of a sequence")
    parser.add_argument("--sequences", type=int, default=2, help="of each kind")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    set_seed(0)
    where = Model(path=options.model)
    reader = Reader(load_model(where))
    start = load_tokenizer(where).bos_token_id or 0
    kinds = sequences(reader, start, options.length, options.sequences)
    result = {
        "machine": machine(device(), torch.get_num_threads()),
        "versions": versions(),
        "model": options.model,
        "length": options.length,
        "repetitions": options.repetitions,
        "kinds": {kind: compare(reader, texts, options.repetitions) for kind, texts in kinds.items()},
    }
    print(json.dumps(result, indent=2))
    if options.output:
        write_json(options.output, result)


if __name__ == "__main__":
    main()
