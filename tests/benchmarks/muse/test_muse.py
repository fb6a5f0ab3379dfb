"""MUSE against single forward passes and single generations, and its metrics by hand."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from expunge.benchmarks.muse.benchmark import MuseBenchmark
from expunge.benchmarks.muse.declaration import MUSE, MuseOptions
from expunge.benchmarks.muse.metrics import muse_metrics
from expunge.data.encoding import Encoder, Example
from expunge.errors import InputError
from expunge.evaluation.generation import greedy_continuations
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.evaluation.membership import lowest_mean
from expunge.models.answers import IGNORED
from muse_files import muse_splits, write_muse
from token_loops import token_by_token

SPLITS = muse_splits()


@pytest.fixture
def benchmark(tmp_path, encoder) -> MuseBenchmark:
    return MUSE.open(MuseOptions(path=write_muse(tmp_path), samples=3), encoder)


def few_shot(side: str, row: int) -> tuple[str, str]:
    """The prompt of a question and its answer."""
    solved = SPLITS[f"knowmem/{side}_qa_icl"]
    shown = [f"Question: {other['question']}\nAnswer: {other['answer']}\n\n" for other in solved]
    asked = SPLITS[f"knowmem/{side}_qa"][row]
    return "".join(shown) + f"Question: {asked['question']}\nAnswer: ", asked["answer"]


def continuations() -> dict[str, list[tuple[str, str]]]:
    passages = [(row["prompt"], row["gt"].strip()) for row in SPLITS["verbmem/forget"]]
    return {
        "forget_verbatim": passages,
        "forget_knowledge": [few_shot("forget", row) for row in range(3)],
        "retain_knowledge": [few_shot("retain", row) for row in range(3)],
    }


def test_every_record_of_the_one_pass(tiny_llama, encoder, benchmark):
    log = benchmark.measure(tiny_llama, encoder)
    assert not log.generated
    ids = encoder.tokenizer
    for name, items in continuations().items():
        assert len(log.sets[name]) == 3
        for record, (prompt, truth) in zip(log.sets[name], items, strict=True):
            before, after = ids(prompt)["input_ids"], ids(truth)["input_ids"]
            plain, _ = token_by_token(tiny_llama, Example(before + after, [IGNORED] * len(before) + after))
            assert (record.answer.tokens, record.truth) == (len(after), truth)
            assert record.answer.loss == pytest.approx(-sum(plain), rel=1e-4)
    for name, side in (("forget_texts", "forget"), ("holdout_texts", "holdout")):
        for record, row in zip(log.sets[name], SPLITS[f"privleak/{side}"], strict=False):
            text = ids(row["text"])["input_ids"]
            plain, standardised = token_by_token(tiny_llama, Example(text, [IGNORED, *text[1:]]))
            assert record.scores["loss"] == pytest.approx(np.mean(plain), rel=1e-4)
            assert record.scores["min_k"] == pytest.approx(lowest_mean(np.array(plain)), rel=1e-4)
            assert record.scores["min_k_plus_plus"] == pytest.approx(
                lowest_mean(np.array(standardised)), rel=1e-3
            )
    assert [len(log.sets[name]) for name in ("forget_texts", "holdout_texts")] == [3, 3]


def test_generations_are_greedy_and_as_long_as_the_paper_says(tiny_llama, encoder, benchmark):
    """What was written is what one forward pass over all of it would choose next at every place."""
    tiny_llama.lm_head.weight.data[0] = 0.0  # so that it does not end
    log = benchmark.evaluate(tiny_llama, encoder)
    assert log.generated
    lengths = {"forget_verbatim": 128, "forget_knowledge": 32, "retain_knowledge": 32}
    for name, items in continuations().items():
        for record, (prompt, _) in zip(log.sets[name], items, strict=True):
            before, written = (encoder.tokenizer(text)["input_ids"] for text in (prompt, record.generation))
            with torch.no_grad():
                logits = tiny_llama(torch.tensor([before + written])).logits[0]
            choices = logits[len(before) - 1 :].argmax(-1).tolist()
            assert choices[:-1] == written
            assert len(written) == lengths[name]
    assert all(record.generation is None for record in log.sets["forget_texts"])
    assert EvaluationLog.from_json(json.loads(json.dumps(log.to_json()))) == log
    metrics = benchmark.metrics(log, log)
    assert metrics["privacy_leakage"].value == pytest.approx(0.0)
    assert metrics["forget_verbatim_ngram_entropy"].n == 3


@pytest.mark.parametrize(
    ("written", "answer"),
    [
        ("\n Ada of the town \nQuestion: Who else?", "Ada of the town "),
        ("\n\nAda\nof the town", "Ada"),
        (" \n ", ""),
    ],
)
def test_an_answer_is_the_first_line_with_text(
    tiny_llama, encoder, benchmark, monkeypatch, written: str, answer: str
):
    """A model that puts its answer on a new line still knows it."""
    monkeypatch.setattr(
        "expunge.benchmarks.muse.benchmark.greedy_continuations",
        lambda model, tokenizer, prompts, *_, **__: [written] * len(prompts),
    )
    log = benchmark.evaluate(tiny_llama, encoder)
    assert {record.generation for record in log.sets["retain_knowledge"]} == {answer}
    assert {record.generation for record in log.sets["forget_verbatim"]} == {written}


def test_a_window_that_is_too_small(tiny_llama, encoder, benchmark):
    """Prompts lose their beginning, texts are measured in chunks of which every token but the first counts."""
    tiny_llama.config.max_position_embeddings = 24
    log = benchmark.measure(tiny_llama, encoder)
    text = encoder.tokenizer(SPLITS["privleak/forget"][0]["text"])["input_ids"]
    chunks = [text[:23], text[22:46], text[45:]]
    scores = [token_by_token(tiny_llama, Example(part, [IGNORED, *part[1:]]))[0] for part in chunks]
    record = log.sets["forget_texts"][0]
    assert record.answer.tokens == len(text) - 1 == sum(map(len, scores))
    assert record.scores["min_k"] == pytest.approx(lowest_mean(np.concatenate(scores)), rel=1e-4)
    prompt, truth = few_shot("forget", 0)
    ids = encoder.tokenizer(prompt + truth)["input_ids"][-24:]
    plain, _ = token_by_token(tiny_llama, Example(ids, [IGNORED] * 21 + ids[21:]))
    assert log.sets["forget_knowledge"][0].answer.loss == pytest.approx(-sum(plain), rel=1e-4)
    last = encoder.tokenizer(continuations()["forget_verbatim"][2][0])["input_ids"][-1:]
    (alone,) = greedy_continuations(tiny_llama, encoder.tokenizer, [last], 128)
    assert benchmark.generate(tiny_llama, encoder, log).sets["forget_verbatim"][2].generation == alone != ""


def test_a_long_passage_is_cut_where_its_continuation_ends(tiny_llama, encoder, tmp_path):
    splits = muse_splits()
    long = [f"w{3 + number % 60}" for number in range(150)]
    splits["verbmem/forget"] = [{"prompt": "w5 w6", "gt": " ".join(long)}]
    log = MuseBenchmark(write_muse(tmp_path, splits=splits), 2).measure(tiny_llama, encoder)
    (record,) = log.sets["forget_verbatim"]
    assert (record.answer.tokens, record.truth) == (128, " ".join(long[:128]))


def test_metrics_by_hand():
    def record(truth: str | None, generation: str | None, probability: float = 0.5) -> QuestionRecord:
        scores = {} if truth else {"min_k": math.log(probability)}
        likelihood = Likelihood(-4 * math.log(probability), 4)
        return QuestionRecord(
            0, likelihood, generation=generation, truth=truth, correct=2, strength=0.25, scores=scores
        )

    log = EvaluationLog(
        "muse",
        "1",
        True,
        {
            "forget_verbatim": [record("a b c d", "a b c d"), record("a b c d", "x y")],
            "forget_knowledge": [record("the town", "in the town by the sea")],  # precision 2/6, recall 1
            "retain_knowledge": [record("one two", "two one", 0.8)],  # a common sequence of one
            "forget_texts": [record(None, None, 0.9), record(None, None, 0.3)],
            "holdout_texts": [record(None, None, 0.2), record(None, None, 0.4)],
        },
    )
    metrics = muse_metrics(log)
    values = {name: metric.value for name, metric in metrics.items()}
    assert values["forget_verbatim_memorization"] == pytest.approx(0.5)
    assert values["forget_knowledge_memorization"] == pytest.approx(0.5)
    assert values["forget_knowledge_recall"] == pytest.approx(1.0)
    assert values["retain_knowledge_memorization"] == values["retain_knowledge_recall"] == pytest.approx(0.5)
    assert values["membership_inference_min_k"] == pytest.approx(0.75)
    assert values["privacy_leakage"] == pytest.approx(-50.0)
    assert values["retain_knowledge_probability"] == pytest.approx(0.8)
    assert values["retain_knowledge_perplexity"] == pytest.approx(1.25)
    assert values["forget_verbatim_exact_memorization"] == pytest.approx(0.5)
    assert values["forget_verbatim_extraction_strength"] == pytest.approx(0.25)
    assert (metrics["forget_verbatim_memorization"].n, metrics["privacy_leakage"].n) == (2, 4)
    assert metrics["forget_verbatim_memorization"].low == 0.0
    benchmark = MuseBenchmark.__new__(MuseBenchmark)
    assert benchmark.forget_score(metrics) == pytest.approx(0.5)
    assert benchmark.utility(metrics, generated=True) == pytest.approx(0.5)
    log.sets["forget_verbatim"] = [record("a b", "a b c d")]  # recall 1, precision 1/2
    assert muse_metrics(log)["forget_verbatim_memorization"].value == pytest.approx(2 / 3)
    for name, length in (("forget_verbatim", 2), ("forget_knowledge", 1), ("retain_knowledge", 1)):
        log.sets[name] = [record("a", None, 0.6)] * length
    taught = muse_metrics(log)
    assert "forget_verbatim_memorization" not in taught
    assert benchmark.forget_score(taught) == pytest.approx(0.4)
    assert benchmark.utility(taught, generated=False) == pytest.approx(0.6)


def test_what_cannot_be_asked_for(encoder):
    with pytest.raises(InputError) as caught:
        MUSE.open(MuseOptions(max_new_tokens=50), encoder)
    assert [problem.where for problem in caught.value.problems] == ["path", "max_new_tokens"]


def test_a_text_of_one_token_is_refused(tiny_llama, encoder, tmp_path):
    splits = muse_splits()
    splits["privleak/forget"][1] = {"text": "w7"}
    with pytest.raises(InputError, match="privleak/forget, row 2: it is one token"):
        MuseBenchmark(write_muse(tmp_path, splits=splits)).measure(tiny_llama, encoder)


def test_the_encoder_continues_a_text_with_bos_and_without_eos():
    """Of the three habits of tokenizers; the space belongs to the answer's first token where it is merged."""
    import tokenizer_families

    for family in (tokenizer_families.llama_like, tokenizer_families.gpt2_like, tokenizer_families.ending):
        tokenizer = family()
        made = Encoder(tokenizer, max_length=8).continuation(
            "Question: Who wrote the book?\nAnswer: ", "Ada wrote it."
        )
        labels = [label for label in made.labels if label != IGNORED]
        assert tokenizer.decode(labels).strip() == "Ada wrote it."
        assert len(made) > 8
        starts = family is tokenizer_families.llama_like
        assert (made.input_ids[0] == tokenizer.bos_token_id) == starts
        assert made.input_ids[-1] != tokenizer.eos_token_id
        opening = Encoder(tokenizer).opening("Ada was")
        assert opening[-1] != tokenizer.eos_token_id
        assert tokenizer.decode(opening, skip_special_tokens=True).strip() == "Ada was"
