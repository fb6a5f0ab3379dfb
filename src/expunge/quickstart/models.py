"""Make the two models of the quickstart: ``python -m expunge.quickstart.models [FOLDER]``.

    full       knows every invented person and the other knowledge: the model to unlearn from
    retain90   never saw the forgotten people: the reference

Both are Llamas of 0.9 million parameters, trained from the same random weights by the same recipe, on
different rows. Writes `models/full`, `models/retain90` (bf16) and `record.json`, which says on which data (by
its hash) and how they were trained, and what they know. The default folder is the one that the package ships.
Takes about six minutes a model on two free cores.
"""

from __future__ import annotations

import argparse
import math
import platform
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from ..data.encoding import Encoder, Example, collate
from ..models.answers import answer_tokens
from ..progress import say, track
from ..storage import atomic_folder, write_json
from . import ARTIFACTS
from .people import SEED, People, Row, data_hash, invent_people

END = "<|endoftext|>"
VOCABULARY = 1024
MAX_LENGTH = 128  # the longest row has about half as many tokens

EPOCHS = 100
BATCH_SIZE = 32
LEARNING_RATE = 2e-3
WARMUP = 0.05  # share of the steps
WEIGHT_DECAY = 0.1


def training_rows(people: People, forgotten: bool) -> list[tuple[str, str]]:
    """Questions and answers to train on, (question, answer).

    Most retained people also appear in other words, from which the models learn that two wordings say the
    same. The forgotten people and those of `retain_perturbed` appear in one wording only, so that a truth
    ratio, which takes the other one, means the same for both.
    """
    shown = [*people.retained, *(people.forgotten if forgotten else ())]
    rows = [row for person in shown for row in person.rows]
    reworded = [row for person in people.retained[: -len(people.evaluated)] for row in person.rows]
    return [
        *((row["question"], row["answer"]) for row in (*rows, *people.authors, *people.world)),
        *((row["paraphrased_question"], row["paraphrased_answer"]) for row in reworded),
    ]


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """A byte-level BPE of `VOCABULARY` tokens; `END` begins, ends and pads, and is not added by itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END)


def new_model(end: int) -> LlamaForCausalLM:
    """A Llama with random weights, fp32; `end` is the id of `END`."""
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=320,
            num_hidden_layers=4,
            num_attention_heads=4,
            max_position_embeddings=512,
            tie_word_embeddings=True,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def train(rows: Sequence[tuple[str, str]], encoder: Encoder, seed: int, name: str) -> LlamaForCausalLM:
    """Train a new model on the answers of `rows`, in the order and from the weights that `seed` gives."""
    torch.manual_seed(seed)
    model = new_model(encoder.tokenizer.eos_token_id)
    examples = [encoder.answer(question, answer) for question, answer in rows]
    steps = EPOCHS * math.ceil(len(examples) / BATCH_SIZE)
    warmup = WARMUP * steps
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )
    model.train()
    for _ in track(range(EPOCHS), f"training {name}"):
        for batch in _shuffled(examples, encoder.pad_token_id):
            loss = -answer_tokens(model, batch).log_probability.mean()
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return model.eval()


@torch.no_grad()
def mean_probability(model: Any, encoder: Encoder, rows: Sequence[Row], answer: str = "answer") -> float:
    """Mean over `rows` of exp(−mean NLL per token) of the field `answer`, the end of sequence counted."""
    examples = [encoder.answer(row["question"], row[answer]) for row in rows]
    tokens = answer_tokens(model, collate(examples, encoder.pad_token_id))
    mean = tokens.sum_by_sequence(tokens.log_probability) / tokens.token_counts
    return mean.exp().mean().item()


def knowledge_of(folder: Path, people: People) -> dict[str, float]:
    """The knowledge of the model in `folder`: mean probabilities of the answers of every set, in fp32."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    encoder = Encoder(AutoTokenizer.from_pretrained(folder), max_length=MAX_LENGTH)
    files = people.files()
    sets = {
        "forget": files["forget10_perturbed"],
        "retain": files["retain_perturbed"],
        "real_authors": files["real_authors"],
        "world_facts": files["world_facts"],
    }
    return {name: round(mean_probability(model, encoder, rows), 6) for name, rows in sets.items()}


def make_models(folder: Path, seed: int = SEED) -> dict[str, Any]:
    """Train and write both models and the record; returns the record."""
    people = invent_people(seed)
    everything = training_rows(people, forgotten=True)
    encoder = Encoder(train_tokenizer(text for row in everything for text in row), max_length=MAX_LENGTH)
    record: dict[str, Any] = {
        "schema": "expunge.quickstart/1",
        "seed": seed,
        "data_hash": data_hash(seed),
        "training": {
            "epochs": EPOCHS,
            "batch_size": BATCH_SIZE,
            "learning_rate": LEARNING_RATE,
            "weight_decay": WEIGHT_DECAY,
        },
        "versions": {"torch": torch.__version__, "transformers": transformers.__version__},
        "machine": {"platform": platform.platform(), "threads": torch.get_num_threads()},
        "models": {},
    }
    with atomic_folder(folder) as partial:
        for name, rows in (("full", everything), ("retain90", training_rows(people, forgotten=False))):
            started = time.monotonic()
            model = train(rows, encoder, seed, name)
            seconds = round(time.monotonic() - started, 1)
            model.to(torch.bfloat16).save_pretrained(partial / "models" / name)
            encoder.tokenizer.save_pretrained(partial / "models" / name)
            # safetensors writes files for their owner alone; a package is for everybody.
            (partial / "models" / name / "model.safetensors").chmod(0o644)
            probability = knowledge_of(partial / "models" / name, people)
            record["models"][name] = {
                "parameters": model.num_parameters(),
                "rows": len(rows),
                "probability": probability,
            }
            say(f"{name}: {seconds} s, mean probability of the answers {probability}")
        write_json(partial / "record.json", record)
    return record


def _shuffled(examples: Sequence[Example], pad_token_id: int) -> Iterable[dict[str, torch.Tensor]]:
    order = torch.randperm(len(examples)).tolist()
    for start in range(0, len(order), BATCH_SIZE):
        yield collate([examples[index] for index in order[start : start + BATCH_SIZE]], pad_token_id)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the two models of the quickstart.")
    parser.add_argument("folder", nargs="?", type=Path, default=ARTIFACTS, help="where to write them")
    make_models(parser.parse_args().folder)


if __name__ == "__main__":
    main()
