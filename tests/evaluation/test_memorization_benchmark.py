from __future__ import annotations

import json
import math

import pytest

from expunge.data.encoding import IGNORED, Example
from expunge.errors import InputError
from expunge.evaluation.generation import greedy_continuations
from expunge.evaluation.likelihood import answer_losses
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.evaluation.memorization import Material, MemorizationBenchmark
from expunge.evaluation.rouge import rouge_scores


@pytest.fixture
def material(encoder) -> dict[str, list[Material]]:
    """Forget: two questions and a chunk of text. Retain: a question."""

    def question(asked: str, answer: str) -> Material:
        return Material(encoder.answer(asked, answer), encoder.prompt(asked), answer)

    text = encoder.text("w10 w11 w12 w13")[0]
    return {
        "forget": [question("w5 w6", "w7 w8 w9"), Material(text), question("w20", "w21")],
        "retain": [question("w30 w31 w32", "w33 w34")],
    }


def test_records_and_generations(tiny_llama, encoder, material):
    benchmark = MemorizationBenchmark(**material, max_new_tokens=5, data={"path": "files"})
    log = benchmark.evaluate(tiny_llama, encoder)
    assert (log.benchmark, log.generated, log.data) == ("memorization", True, {"path": "files"})
    for name, items in material.items():
        losses = answer_losses(tiny_llama, [item.example for item in items], 0)
        for index, (record, item, loss) in enumerate(zip(log.sets[name], items, losses, strict=True)):
            assert record.answer.loss == pytest.approx(loss.loss, rel=1e-5)
            assert (record.index, record.answer.tokens) == (index, item.example.label_count)
            assert (record.correct, record.strength) == (loss.correct, loss.strength)
            assert record.truth == item.truth
            if item.prompt is None:
                assert record.generation is None
            else:
                (alone,) = greedy_continuations(tiny_llama, encoder.tokenizer, [item.prompt], 5)
                assert record.generation == alone
    metrics = benchmark.metrics(log, None)
    pairs = [(record.truth, record.generation) for record in log.sets["forget"] if record.truth]
    expected = sum(score.rougeL_recall for score in rouge_scores(pairs)) / 2
    assert (metrics["forget_rouge"].value, metrics["forget_rouge"].n) == (pytest.approx(expected), 2)
    assert EvaluationLog.from_json(json.loads(json.dumps(log.to_json()))) == log


def test_metrics_by_hand():
    def record(probability: float, tokens: int, correct: int, strength: float, *texts: str) -> QuestionRecord:
        generation, truth = texts or (None, None)
        answer = Likelihood(-math.log(probability) * tokens, tokens)
        return QuestionRecord(0, answer, None, (), generation, truth, correct, strength)

    benchmark = MemorizationBenchmark([Material(Example([1, 2], [IGNORED, 2]))])
    forget = [record(0.9, 4, 4, 1.0, "a b", "a b"), record(0.5, 10, 3, 0.0, "a", "a b c d")]
    log = EvaluationLog("memorization", "1", True, {"forget": forget, "retain": [record(0.8, 5, 4, 0.2)]})
    metrics = benchmark.metrics(log)
    values = {name: metric.value for name, metric in metrics.items()}
    assert values == pytest.approx(
        {
            "forget_probability": 0.7,
            "forget_exact_memorization": (1.0 + 0.3) / 2,
            "forget_extraction_strength": 0.5,
            "forget_rouge": (1.0 + 0.25) / 2,
            "retain_probability": 0.8,
            "retain_exact_memorization": 0.8,
            "retain_extraction_strength": 0.2,
        }
    )
    assert metrics["forget_probability"].n == 2
    assert benchmark.forget_score(metrics) == pytest.approx(0.3)
    assert benchmark.utility(metrics) == pytest.approx(0.8)


def test_without_retain_material_there_is_no_utility(tiny_llama, encoder, material):
    benchmark = MemorizationBenchmark(material["forget"])
    log = benchmark.measure(tiny_llama, encoder)
    metrics = benchmark.metrics(log, None)
    assert log.sets["retain"] == []
    assert metrics.keys() == {
        f"forget_{m}" for m in ("probability", "exact_memorization", "extraction_strength")
    }
    assert math.isnan(benchmark.utility(metrics))


def test_material_that_cannot_be_measured_is_refused():
    with pytest.raises(InputError, match=r"data\.forget: there is nothing in it to forget"):
        MemorizationBenchmark([])
    bare, good = Material(Example([1, 2], [IGNORED] * 2)), Material(Example([1, 2], [IGNORED, 2]))
    with pytest.raises(InputError) as caught:
        MemorizationBenchmark([good, bare], [bare])
    assert [problem.where for problem in caught.value.problems] == [
        "data.forget, row 2",
        "data.retain, row 1",
    ]
