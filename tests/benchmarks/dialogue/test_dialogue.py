"""Dialogue sets: unigram F1 by hand, replies by a loop, and what a row may look like."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from expunge.benchmarks.dialogue import benchmark as dialogue
from expunge.benchmarks.dialogue.benchmark import DialogueBenchmark, unigram_f1
from expunge.benchmarks.dialogue.declaration import DIALOGUE, DialogueOptions
from expunge.benchmarks.dialogue.files import Reply, read_dialogues
from expunge.errors import InputError
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord


@pytest.mark.parametrize(
    ("truth", "generation", "expected"),
    [
        # {i love cats and dog} and {cats and dogs love}: three shared of five and four
        ("I love the cats, and a dog!", "The Cats and dogs love.", 2 * 3 / 9),
        ("no no yes", "no, no, NO", 2 * 2 / 6),  # a word counts as often as both have it
        ("I don't", "dont I", 1.0),  # an apostrophe joins, it does not part
        ("another theme", "another theme", 1.0),  # articles are words, not letters
        ("the end", "a the an", 0.0),
        ("yes", "", 0.0),
        ("yes", "no", 0.0),
    ],
)
def test_unigram_f1_by_hand(truth: str, generation: str, expected: float) -> None:
    assert unigram_f1(truth, generation) == pytest.approx(expected)
    assert unigram_f1(generation, truth) == pytest.approx(expected)


def write(file: Path, rows: list) -> None:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_rows_are_texts_or_turns(tmp_path: Path) -> None:
    folder = tmp_path / "sets"
    folder.mkdir()
    write(folder / "empathetic.jsonl", [{"context": "I lost my dog. ", "response": " Oh no! "}])
    write(folder / "blended.jsonl", [{"context": ["Hi!", "Hello.", "Well?"], "response": "Fine."}])
    # The layout of Jang et al.: one object, a column of numbered rows.
    (tmp_path / "wizard.json").write_text(
        json.dumps({"text": {"0": ["Hi!", "Hello."], "1": ["A", "B", "C"]}})
    )
    assert read_dialogues(f"{folder}, {tmp_path / 'wizard.json'}", "--data") == {
        "blended": [Reply("User 1: Hi!\nUser 2: Hello.\nUser 1: Well?\nUser 2:", "Fine.")],
        "empathetic": [Reply("I lost my dog.", "Oh no!")],
        "wizard": [Reply("User 1: Hi!\nUser 2:", "Hello."), Reply("User 1: A\nUser 2: B\nUser 1:", "C")],
    }


def test_every_row_that_is_no_dialogue_is_named(tmp_path: Path) -> None:
    write(
        tmp_path / "one.jsonl", [{"context": "A", "response": "B"}, {"response": "B"}, {"context": ["A", 3]}]
    )
    write(tmp_path / "two.jsonl", [{"context": "A", "response": "  "}])
    (tmp_path / "three.jsonl").write_text("")
    with pytest.raises(InputError) as caught:
        DIALOGUE.open(DialogueOptions(path=str(tmp_path)), None)  # type: ignore[arg-type]
    found = [str(problem) for problem in caught.value.problems]
    assert [Path(text.split(": ")[0]).name for text in found] == [
        "one.jsonl, row 2", "one.jsonl, row 3", "three.jsonl", "two.jsonl, row 1",
    ]  # fmt: skip
    assert "it has no `context`" in found[0]
    assert "it has no `response`" in found[3]
    for path, sentence in (
        (None, "there are no dialogues"),
        ("absent.jsonl", "there is no file 'absent.jsonl'"),
    ):
        with pytest.raises(InputError, match=sentence):
            DIALOGUE.open(DialogueOptions(path=path), None)  # type: ignore[arg-type]


def test_sets_from_the_hub_are_named_after_their_configuration_too(monkeypatch) -> None:
    def load_dataset(name: str, *configuration: str, split: str) -> list[dict]:
        return [{"context": f"{name} {configuration} {split}", "response": "B"}]

    monkeypatch.setattr("datasets.load_dataset", load_dataset)
    assert read_dialogues("org/talk:test, org/wizard:web:test, org/wizard:wiki:test", "--data") == {
        "talk": [Reply("org/talk () test", "B")],
        "wizard_web": [Reply("org/wizard ('web',) test", "B")],
        "wizard_wiki": [Reply("org/wizard ('wiki',) test", "B")],
    }


def test_two_sets_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("blended", "empathetic"):
        (tmp_path / name).mkdir()
        write(tmp_path / name / "test.jsonl", [{"context": "A", "response": "B"}])
    with pytest.raises(InputError, match=r"empathetic/test\.jsonl: another set is called 'test' already"):
        read_dialogues(f"{tmp_path}/blended,{tmp_path}/empathetic", "--data")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "first.jsonl", [{"context": "w10 w11 w12", "response": "w13 w14"},
                                     {"context": "w20 w21", "response": "w22"}])  # fmt: skip
    write(
        tmp_path / "second.jsonl", [{"context": f"w{n} w31", "response": "w32 w33 w34"} for n in (40, 41, 42)]
    )
    return tmp_path


def test_replies_are_those_of_a_greedy_loop(tiny_llama, encoder, folder: Path) -> None:
    benchmark = DIALOGUE.open(DialogueOptions(path=str(folder), max_new_tokens=4, samples=2), encoder)
    assert benchmark.data["names"] == ["first", "second"]
    assert DIALOGUE.open(DialogueOptions(path=str(folder)), encoder).max_new_tokens == 32
    log = benchmark.evaluate(tiny_llama, encoder)
    assert [len(records) for records in log.sets.values()] == [2, 2]
    for record, row in zip(log.sets["first"], (folder / "first.jsonl").read_text().splitlines(), strict=True):
        given = json.loads(row)
        ids = torch.tensor([encoder.tokenizer(given["context"])["input_ids"]])
        reply = encoder.tokenizer(given["response"])["input_ids"]
        log_p = tiny_llama(torch.cat([ids, torch.tensor([reply])], 1)).logits.log_softmax(-1)[
            0, ids.shape[1] - 1 : -1
        ]
        assert record.answer.loss == pytest.approx(
            -log_p.gather(-1, torch.tensor(reply)[:, None]).sum().item(), rel=1e-5
        )
        assert record.answer.tokens == len(reply)
        start = ids.shape[1]
        while ids.shape[1] < start + 4 and ids[0, -1] != encoder.tokenizer.eos_token_id:
            ids = torch.cat([ids, tiny_llama(ids).logits[0, -1].argmax()[None, None]], 1)
        assert record.generation == encoder.tokenizer.decode(ids[0, start:], skip_special_tokens=True)
    assert EvaluationLog.from_json(json.loads(json.dumps(log.to_json()))) == log


def test_a_reply_ends_with_the_speaker_and_a_long_dialogue_loses_its_beginning(
    tiny_llama, encoder, monkeypatch
) -> None:
    asked = []

    def reply(model, tokenizer, prompts, max_new_tokens, description):
        asked.extend(prompts)
        return [" Fine.\nUser 1: And you?\nUser 2: Well."] * len(prompts)

    monkeypatch.setattr(dialogue, "greedy_continuations", reply)
    tiny_llama.config.max_position_embeddings = 8
    long = " ".join(f"w{n}" for n in range(10, 40))
    benchmark = DialogueBenchmark({"only": [Reply(long, "w5 w6")]}, "memory", max_new_tokens=3)
    log = benchmark.evaluate(tiny_llama, encoder)
    (record,) = log.sets["only"]
    assert record.generation == " Fine."
    assert asked == [[35, 36, 37, 38, 39]]
    ids = torch.tensor([[34, 35, 36, 37, 38, 39, 5, 6]])
    log_p = tiny_llama(ids).logits.log_softmax(-1)[0]
    assert record.answer.loss == pytest.approx(-(log_p[5, 5] + log_p[6, 6]).item(), rel=1e-5)


def test_metrics_by_hand() -> None:
    def record(truth: str, generation: str | None, loss: float = 2.0) -> QuestionRecord:
        return QuestionRecord(0, Likelihood(loss, 2), truth=truth, generation=generation)

    sets = {
        "one": [record("yes sir", "yes sir"), record("no", "yes", 6.0)],
        "two": [record("yes sir", "yes")],
    }
    benchmark = DialogueBenchmark({}, "memory")
    metrics = benchmark.metrics(EvaluationLog("dialogue", "1", True, sets))
    assert {name: metric.value for name, metric in metrics.items()} == pytest.approx(
        {
            "one_f1": 0.5,
            "two_f1": 2 / 3,
            "dialogue_f1": 7 / 12,
            "one_perplexity": math.e**2,
            "two_perplexity": math.e,
        }
    )
    assert (metrics["one_f1"].n, metrics["dialogue_f1"].n) == (2, 3)
    assert benchmark.utility(metrics, generated=True) == metrics["dialogue_f1"].value
    silent = EvaluationLog("dialogue", "1", False, {"one": [record("yes", None)]})
    assert list(benchmark.metrics(silent)) == ["one_perplexity"]
    assert math.isnan(benchmark.utility(benchmark.metrics(silent), generated=False))
