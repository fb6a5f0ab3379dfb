"""WMDP as it is unlearned: corpora as plain text in chunks, judged by questions that are not in them."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from expunge import unlearn
from expunge.data.sets import load_data
from expunge.data.settings import OwnData
from expunge.errors import InputError
from expunge.run.inputs import make_encoder
from task_files import questions, write_task


def write_corpus(file: Path, lengths: list[int], seed: int) -> str:
    draw = random.Random(seed)
    texts = [" ".join(f"w{draw.randrange(3, 64)}" for _ in range(length)) for length in lengths]
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return str(file)


def test_a_corpus_is_cut_into_chunks_of_512(word_tokenizer, tmp_path: Path) -> None:
    data = OwnData(
        format="text", forget=write_corpus(tmp_path / "bio.jsonl", [1300, 512, 30], seed=1), max_length=512
    )
    encoder = make_encoder(word_tokenizer, data)
    chunks = load_data(data, retain_needed=False).forget.encode(encoder)
    # Each chunk but a text's first begins with the last token of the one before, which is not predicted again.
    assert [len(chunk) for chunk in chunks] == [511, 512, 279, 511, 2, 30]
    assert [chunk.label_count for chunk in chunks] == [510, 511, 278, 510, 1, 29]
    first = json.loads((tmp_path / "bio.jsonl").read_text().splitlines()[0])["text"]
    labels = [token for chunk in chunks[:3] for token in chunk.labels[1:]]
    assert labels == word_tokenizer(first)["input_ids"][1:]


@pytest.fixture
def recipe(tiny_llama, word_tokenizer, task_folder: Path, tmp_path: Path) -> dict[str, Any]:
    # Questions of which the random model answers some, and fewer once it has been moved away from the texts.
    for name, seed in (("wmdp_bio", 41), ("wmdp_cyber", 61), ("mmlu", 32)):
        write_task(task_folder, name, questions(6, seed=seed))
    tiny_llama.save_pretrained(tmp_path / "model")
    word_tokenizer.save_pretrained(tmp_path / "model")
    return {
        "model": {"path": str(tmp_path / "model")},
        "data": {
            "format": "text",
            "forget": write_corpus(tmp_path / "forget.jsonl", [60] * 4, seed=2),
            "retain": write_corpus(tmp_path / "retain.jsonl", [60] * 10, seed=3),
            "max_length": 32,
        },
        "adapter": {"initialization": "default", "rank": 2, "alpha": 4},
        "objective": {"forget": "ga", "retain_weight": 0.0},  # so that a random model forgets something
        "training": {"epochs": 1, "batch_size": 4, "micro_batch_size": 4, "learning_rate": 5e-2, "warmup": 0},
        "evaluation": {"benchmark": "wmdp", "path": str(task_folder)},
        "attacks": {"budget": "none"},
        "stopping": {"utility_floor": 0},
        "output": str(tmp_path / "run"),
    }


def test_a_run_is_judged_by_wmdp_and_trains_on_the_whole_corpora(recipe) -> None:
    run = unlearn(recipe)
    assert run.state["state"] == "done"
    assert list(run.metrics["before"]) == ["wmdp_bio_acc", "wmdp_cyber_acc", "mmlu_acc"]
    assert run.metrics["after"]["wmdp_bio_acc"]["n"] == 6
    epoch = json.loads((run.path / "metrics.jsonl").read_text())
    after = {name: metric["value"] for name, metric in run.metrics["after"].items()}
    assert epoch["forget_score"] == pytest.approx(1 - (after["wmdp_bio_acc"] + after["wmdp_cyber_acc"]) / 2)
    assert epoch["utility"] == after["mmlu_acc"]
    assert epoch["step"] == 2  # 4 texts are 8 chunks
    page = run.report.read_text()
    assert "Accuracy on MMLU: 0.167 before, 0.167 after" in page
    assert "accuracy on the WMDP questions about biology" in page


def test_a_benchmark_without_forgetting_cannot_choose_an_epoch(recipe, task_folder: Path) -> None:
    for name in ("lambada_openai", "hellaswag", "winogrande", "copa", "arc_easy", "arc_challenge", "piqa", "mathqa",
                 "pubmedqa"):  # fmt: skip
        write_task(task_folder, name, questions(1, seed=1))
    recipe["evaluation"]["benchmark"] = "reasoning"
    with pytest.raises(InputError, match=r"evaluation\.benchmark: 'reasoning' measures what a model can do"):
        unlearn(recipe)
    assert not Path(recipe["output"]).exists()
