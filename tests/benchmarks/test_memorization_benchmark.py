from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from expunge.benchmarks.memorization.benchmark import Material, MemorizationBenchmark, memorization_benchmark
from expunge.benchmarks.memorization.declaration import MEMORIZATION, MemorizationOptions
from expunge.data.encoding import Example
from expunge.data.samples import QuestionAnswer
from expunge.data.sets import SampleSet
from expunge.errors import InputError
from expunge.evaluation.generation import greedy_continuations
from expunge.evaluation.gradient_norm import gradient_norms
from expunge.evaluation.likelihood import answer_losses
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.evaluation.membership import membership_scores, told_apart
from expunge.evaluation.metric import Metric
from expunge.evaluation.rouge import rouge_scores
from expunge.models.answers import IGNORED


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


def test_texts_are_gone_on_with_and_no_figure_changes(tiny_llama, encoder, material):
    """Of 41 texts every third, 20 at most. Of the 70 tokens after the first 32 are given, and the rest is looked for.

    A text of four tokens has three labels, of which one is given after the first token.
    """
    encoder = replace(encoder, max_length=100)
    long = [encoder.text(" ".join(f"w{row % 7 + place % 50}" for place in range(71)))[0] for row in range(40)]
    texts = [Material(example) for example in [encoder.text("w10 w11 w12 w13")[0], *long]]
    benchmark = MemorizationBenchmark([*texts, material["forget"][0]], material["retain"], holdout=texts[:2])
    log = benchmark.measure(tiny_llama, encoder)
    found = benchmark.continue_texts(tiny_llama, encoder, log)
    assert benchmark.has_texts
    assert benchmark.metrics(found) == benchmark.metrics(log)
    assert [row for row, record in enumerate(found.sets["forget"]) if record.continued] == list(
        range(0, 41, 3)
    )
    assert not any(record.continued for name in ("retain", "holdout") for record in found.sets[name])
    for row, given, following in ((0, 2, 2), (3, 33, 38)):
        ids = texts[row].example.input_ids
        continued = found.sets["forget"][row].continued
        (written,) = greedy_continuations(tiny_llama, encoder.tokenizer, [ids[:given]], 64)
        assert continued.begun == encoder.tokenizer.decode(ids[:given], skip_special_tokens=True)
        assert continued.truth == encoder.tokenizer.decode(
            ids[given : given + following], skip_special_tokens=True
        )
        assert continued.written == written
    assert EvaluationLog.from_json(json.loads(json.dumps(found.to_json()))) == found
    short = MemorizationBenchmark(texts[:4], max_new_tokens=5)
    cut = (
        short.continue_texts(tiny_llama, encoder, short.measure(tiny_llama, encoder))
        .sets["forget"][3]
        .continued
    )
    assert continued.written.split()[:5] == cut.written.split()
    assert len(cut.truth.split()) == 5
    questions = MemorizationBenchmark(material["retain"])
    assert not questions.has_texts


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
            "forget_perplexity": math.exp(-(4 * math.log(0.9) + 10 * math.log(0.5)) / 14),
            "forget_ngram_entropy": 0.0,  # of texts of one and two words
            "retain_perplexity": 1 / 0.8,
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
    assert benchmark.utility(metrics, generated=False) == pytest.approx(0.8)


def test_what_one_answer_gains_does_not_make_up_for_what_another_loses() -> None:
    """0.2, 0.4 and 0.9 become 0.8, 0.8 and 0.0: the mean rises from 0.50 to 0.53, kept is that of 0.2, 0.4 and 0.0."""

    def log(*probabilities: float) -> EvaluationLog:
        records = [
            QuestionRecord(row, Likelihood(-math.log(p) * 3, 3), None, correct=1, strength=0.0)
            for row, p in enumerate(probabilities)
        ]
        return EvaluationLog("memorization", "1", False, {"forget": records[:1], "retain": records})

    benchmark = MemorizationBenchmark([Material(Example([1, 2], [IGNORED, 2]))])
    before, after = log(0.2, 0.4, 0.9), log(0.8, 0.8, 1e-9)
    first, then = (benchmark.all_metrics(each, None, before) for each in (before, after))
    assert then["retain_probability"].value > first["retain_probability"].value == pytest.approx(0.5)
    assert (first["retain_kept"].value, then["retain_kept"].value) == pytest.approx((0.5, 0.2))
    assert then["retain_kept"].n == 3
    assert "retain_kept" not in benchmark.all_metrics(after, None)
    assert "retain_kept" not in benchmark.all_metrics(log(0.8, 0.8), None, before)  # of other answers


def test_to_go_beyond_what_was_never_seen_is_no_better():
    """Nearer to the reference is better, from either side: |0.7 − 0.2|, |0.1 − 0.2|, …

    Else nearer to the holdout, 0.4 before: not under that, nor over what the model gives it now.
    """

    def log(*sets: tuple[str, tuple[float, ...]]) -> EvaluationLog:
        return EvaluationLog("memorization", "1", False, {
            name: [QuestionRecord(row, Likelihood(-math.log(p) * 3, 3), None, scores={"min_k": p})
                   for row, p in enumerate(probabilities)] for name, probabilities in sets
        })  # fmt: skip

    benchmark = MemorizationBenchmark([Material(Example([1, 2], [IGNORED, 2]))])
    reference = log(("forget", (0.3, 0.1)))
    holdout = ("holdout", (0.4, 0.2, 0.6))

    def score(
        *sets: tuple[str, tuple[float, ...]],
        reference: EvaluationLog | None = None,
        before: EvaluationLog | None = None,
    ) -> float:
        return benchmark.forget_score(benchmark.all_metrics(log(*sets), reference, before))

    assert score(("forget", (0.9, 0.5)), reference=reference) == pytest.approx(0.5)
    assert score(("forget", (0.15, 0.05)), reference=reference) == pytest.approx(0.9)
    assert score(("forget", (0.9, 0.5)), holdout) == pytest.approx(0.7)
    assert score(("forget", (0.15, 0.05)), holdout) == pytest.approx(0.7)
    assert score(("forget", (0.9, 0.5))) == pytest.approx(0.3)
    # What unlearning has spoilt of the holdout, from 0.4 to 0.05, is no aim; yet who compares the two would see it.
    before, spoilt = log(("forget", (0.9, 0.9)), holdout), ("holdout", (0.05, 0.05, 0.05))
    assert score(("forget", (0.05, 0.05)), spoilt, before=before) == pytest.approx(0.65)
    assert score(("forget", (0.4, 0.3)), spoilt, before=before) == pytest.approx(0.7)
    assert score(("forget", (0.3, 0.1)), spoilt, before=before) == pytest.approx(0.8)
    assert score(("forget", (0.6, 0.4)), ("holdout", (0.6, 0.6, 0.6)), before=before) == 1.0
    both = log(("forget", (0.3, 0.1)), holdout)
    # 0.35 is 0.15 over the reference, whose interval ends at 0.3; of the way from 0.9 so much is left.
    left = math.log(0.35 / 0.3) / math.log(0.9 / 0.3)
    assert score(("forget", (0.4, 0.3)), spoilt, before=before, reference=both) == pytest.approx(0.85 - left)
    found = benchmark.all_metrics(log(("forget", (0.4, 0.3))), both, before)
    assert found["forget_left"] == Metric(pytest.approx(left), 2)
    ways = [((0.9, 0.9), 1.0), ((0.99, 0.99), 1.0), ((0.3, 0.3), 0.0), ((0.01, 0.1), 0.0)]
    for answers, expected in ways:
        way = benchmark.all_metrics(log(("forget", answers)), both, before)["forget_left"]
        assert way.value == pytest.approx(expected)
    assert (
        benchmark.all_metrics(before, both, log(("forget", (0.2, 0.2))))["forget_left"].value == 0
    )  # there was no way
    assert "forget_left" not in benchmark.all_metrics(before, both)
    # Beside a holdout the limit is what it was before, or is now, whichever is more: 0.6 before, 0.7 now.
    raised = benchmark.all_metrics(log(("forget", (0.8, 0.8)), ("holdout", (0.7, 0.7, 0.7))), None, before)
    assert raised["forget_left"].value == pytest.approx(math.log(0.8 / 0.7) / math.log(0.9 / 0.7))
    fallen = benchmark.all_metrics(log(("forget", (0.8, 0.8)), ("holdout", (0.1, 0.1, 0.1))), None, before)
    assert fallen["forget_left"].value == pytest.approx(math.log(0.8 / 0.6) / math.log(0.9 / 0.6))
    assert benchmark.beyond(log(("forget", (0.3, 0.1)), spoilt), None, before) is True
    assert benchmark.beyond(log(("forget", (0.3, 0.2)), spoilt), None, before) is False
    assert benchmark.beyond(log(("forget", (0.4, 0.3)), spoilt), reference, before) is False
    assert benchmark.beyond(log(("forget", (0.5, 0.4))), None, None) is None
    for left, now, expected in (
        (0.39, 0.39, False),
        (0.37, 0.36, True),
        (0.37, 0.33, False),
        (0.42, 0.4, False),
    ):
        unlearned = log(("forget", (left, left)), ("holdout", (now, now)))
        assert benchmark.past_its_aim(unlearned, None, before) is expected
    assert benchmark.past_its_aim(log(("forget", (0.01, 0.01))), None, None) is False
    # The standard error of (p, q) beside 0.4, 0.2, 0.6 is more than 0.05, which is the most that counts.
    for seen, now, near in (
        ((0.5, 0.38), (0.4, 0.2, 0.6), True),
        ((0.53, 0.39), (0.4, 0.2, 0.6), False),
        ((0.5, 0.24), (0.4, 0.2, 0.6), False),
        ((0.5, 0.28), (0.4, 0.2, 0.6), True),
        ((0.41, 0.41), (0.4, 0.4, 0.4), True),
        ((0.43, 0.43), (0.4, 0.4, 0.4), False),
        (
            (0.46, 0.39),
            (0.4, 0.4, 0.39),
            True,
        ),  # 0.028 short; the error is √(0.00245/2 + 0.0000333/3) = 0.035
        ((0.44,), (0.4, 0.4, 0.4), True),
        # The holdout is spoilt by 0.06: in the middle it is 0.03 past the one side, and 0.03 short of the other.
        ((0.37, 0.37), (0.34, 0.34, 0.34), True),
        ((0.385, 0.385), (0.34, 0.34, 0.34), True),
        ((0.395, 0.395), (0.34, 0.34, 0.34), False),
        ((0.345, 0.345), (0.34, 0.34, 0.34), False),
        ((0.25, 0.25), (0.1, 0.1, 0.1), False),  # spoilt by so much that another rate has to be tried
    ):
        assert benchmark.near_enough(log(("forget", seen), ("holdout", now)), None, before) is near, seen
    assert benchmark.near_enough(log(("forget", (0.01, 0.01))), None, None) is False
    # Beside a reference the questions are the same: each is 0.045 short, or the differences are 0.09 and 0.
    spread, levels = log(("forget", (0.1, 0.8))), [(0.145, 0.845), (0.19, 0.8)]
    assert [benchmark.near_enough(log(("forget", each)), spread, None) for each in levels] == [False, True]
    found = benchmark.all_metrics(log(("forget", (0.9, 0.5)), holdout), None)["forget_distance"]
    assert found.n == 2
    assert found.low < found.value < found.high
    # The questions of a reference are drawn with the set's: a level that is the same for all has no width.
    hard = log(("forget", tuple(0.05 * row for row in range(1, 19))))
    short = log(("forget", tuple(0.05 * row + 0.1 for row in range(1, 19))))
    found = benchmark.all_metrics(short, hard)["forget_distance"]
    assert (found.low, found.value, found.high) == pytest.approx((0.1, 0.1, 0.1))
    # So are those of a holdout, before and now: what is in between is at its aim in every draw.
    there = ("holdout", tuple(0.05 * row for row in range(1, 19)))
    lower = ("holdout", tuple(0.05 * row - 0.04 for row in range(1, 19)))
    level = sum(there[1]) / 18
    found = benchmark.all_metrics(
        log(("forget", (level, level)), ("holdout", there[1])), None, log(("forget", (0.9, 0.9)), lower)
    )["forget_distance"]
    alone = benchmark.all_metrics(log(("forget", (level, level)), there), None)["forget_distance"]
    assert (found.value, alone.value) == pytest.approx((0, 0))
    assert found.high < alone.high


def test_beside_a_holdout_membership_inference_is_part_of_the_score():
    """Probabilities that are all alike, and scores that tell the sets apart, or do not."""

    def log(forget: Sequence[float], holdout: Sequence[float], level: float = 0.01) -> EvaluationLog:
        return EvaluationLog("memorization", "1", False, {
            name: [QuestionRecord(row, Likelihood(-math.log(p) * 3, 3), None, scores={"min_k": score})
                   for row, score in enumerate(scores)]
            for name, scores, p in (("forget", forget, level), ("holdout", holdout, 0.01))
        })  # fmt: skip

    benchmark = MemorizationBenchmark([Material(Example([1, 2], [IGNORED, 2]))])
    low, high = [-9.0 + 0.1 * row for row in range(8)], [-5.0 + 0.1 * row for row in range(8)]
    told = log(high, low)  # every resample has an AUC of 1
    found = benchmark.all_metrics(told, None)
    assert found["forget_distance"].value == pytest.approx(0)
    assert benchmark.forget_score(found) == pytest.approx(0.5)
    assert not benchmark.near_enough(told, None, None)
    nearer = benchmark.all_metrics(log([*low[:1], *high[1:]], low), None)
    area = nearer["membership_inference_min_k"]
    assert area.value == pytest.approx((7 * 8 + 0.5) / 64)  # a tie
    assert 0.5 < area.low < area.value
    assert benchmark.forget_score(nearer) == pytest.approx(1.5 - area.low)
    # Under the holdout by their probability, and told as ones that were seen: nobody knows on which side that is.
    under = log(high, low, level=0.005)
    assert benchmark.forget_score(benchmark.all_metrics(under, None)) == pytest.approx(0.495)
    assert benchmark.beyond(under, None, None) is None
    assert benchmark.beyond(told, None, None) is False
    assert benchmark.beyond(log(low, low, level=0.005), None, None) is True
    # As what was never seen, avoided, beside a reference that was measured likewise, or of too few to say.
    for forget, holdout, reference in (
        (low, low, None), (low, high, None), (high, low, told), (high[:4], low[:3], None)
    ):  # fmt: skip
        each = log(forget, holdout)
        reference = reference and log(forget, holdout)
        assert benchmark.forget_score(benchmark.all_metrics(each, reference)) == pytest.approx(1)
        assert benchmark.near_enough(each, reference, None)
    assert told_apart({"membership_inference_min_k": Metric(0.9, 8)}) == pytest.approx(
        0.4
    )  # one beside seven
    assert told_apart({"membership_inference_min_k": Metric(0.9, 7)}) == told_apart({}) == 0


def test_without_retain_material_there_is_no_utility(tiny_llama, encoder, material):
    benchmark = MemorizationBenchmark(material["forget"])
    log = benchmark.measure(tiny_llama, encoder)
    metrics = benchmark.metrics(log, None)
    assert log.sets["retain"] == []
    assert metrics.keys() == {
        f"forget_{m}" for m in ("probability", "exact_memorization", "extraction_strength", "perplexity")
    }
    assert math.isnan(benchmark.utility(metrics, generated=False))


def test_material_that_cannot_be_measured_is_refused(encoder):
    with pytest.raises(InputError, match="forget: there is nothing in it to forget"):
        MemorizationBenchmark([])
    rows = SampleSet("mine.jsonl", [QuestionAnswer("w5", "w6"), QuestionAnswer("w5 " * 60, "w6")])
    with pytest.raises(InputError) as caught:
        memorization_benchmark({"forget": rows}, encoder, 4)
    (problem,) = caught.value.problems
    assert problem.where == "mine.jsonl, row 2"
    assert problem.reason == "its answer does not begin within 48 tokens."
    assert "--max-length" in problem.remedy


def test_membership_inference_with_a_holdout(tiny_llama, encoder, material):
    """The scores of every sample, and their areas as scikit-learn computes them."""
    roc_auc_score = pytest.importorskip("sklearn.metrics").roc_auc_score
    unseen = [Material(encoder.answer(f"w{n} w4", f"w{n + 9} w{n}")) for n in range(11, 16)]
    benchmark = MemorizationBenchmark(**material, max_new_tokens=4, holdout=unseen)
    measured = benchmark.measure(tiny_llama, encoder)
    assert not any("gradient_norm" in record.scores for record in measured.sets["forget"])
    generated = benchmark.generate(tiny_llama, encoder, measured)  # as runs do
    assert not any("gradient_norm" in record.scores for record in generated.sets["forget"])
    log = benchmark.evaluate(tiny_llama, encoder)
    assert all(record.generation is None for record in log.sets["holdout"])
    assert all(record.scores == {} for record in log.sets["retain"])
    sides = {"forget": material["forget"], "holdout": unseen}
    for name, items in sides.items():
        examples = [item.example for item in items]
        losses = answer_losses(tiny_llama, examples, 0, token_statistics=True)
        norms = gradient_norms(tiny_llama, examples, 0)
        for record, example, loss, norm in zip(log.sets[name], examples, losses, norms, strict=True):
            answer = [label for label in example.labels if label not in (IGNORED, 0)]  # 0 is <end>
            text = " ".join(f"w{token}" for token in answer)
            expected = {**membership_scores(loss.statistics, text), "gradient_norm": -norm}
            assert record.scores == pytest.approx(expected, rel=1e-5)
    metrics = benchmark.metrics(log, None)
    labels = [1] * 3 + [0] * 5
    for attack in ("loss", "zlib", "min_k", "min_k_plus_plus", "gradient_norm"):
        scores = [record.scores[attack] for name in sides for record in log.sets[name]]
        found = metrics[f"membership_inference_{attack}"]
        assert (found.value, found.n) == (pytest.approx(roc_auc_score(labels, scores)), 8)
    area = metrics["membership_inference_min_k"].value
    assert metrics["privacy_leakage"].value == pytest.approx((0.5 - area) / 0.5 * 100)
    itself = benchmark.metrics(log, log)
    assert itself["privacy_leakage"].value == pytest.approx(0.0)
    assert itself["membership_inference_reference"].value == 0.5
    assert metrics["holdout_perplexity"].n == 5
    tiny_llama.lm_head.weight.data.mul_(torch.linspace(0.5, 1.5, 64)[:, None])
    reference = benchmark.measure(tiny_llama, encoder)
    scores = [
        -(record.answer.loss - other.answer.loss) / record.answer.tokens
        for name in sides
        for record, other in zip(log.sets[name], reference.sets[name], strict=True)
    ]
    expected = roc_auc_score(labels, scores)
    assert 0 < expected < 1
    against = benchmark.metrics(log, reference)["membership_inference_reference"]
    assert against.value == pytest.approx(expected)
    assert EvaluationLog.from_json(json.loads(json.dumps(log.to_json()))) == log


def write(path: Path, rows: list[dict[str, str]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_opened_from_files(tiny_llama, encoder, tmp_path):
    """Questions to forget, text to keep, longer than the window; the same records as of the material by hand."""
    forget = write(tmp_path / "a.jsonl", [{"question": "w5 w6", "answer": f"w{n} w8"} for n in range(10, 14)])
    retain = write(tmp_path / "b.jsonl", [{"text": " ".join(f"w{n}" for n in range(3, 62))}])
    holdout = write(
        tmp_path / "c.jsonl", [{"question": "w5 w6", "answer": f"w{n} w8"} for n in range(20, 24)]
    )
    source = MemorizationOptions(forget=forget, retain=retain, holdout=holdout, max_new_tokens=3, samples=3)
    opened = MEMORIZATION.open(source, encoder)
    assert {name: len(items) for name, items in opened.sets.items()} == {
        "forget": 3,
        "retain": 2,
        "holdout": 3,
    }
    questions = [
        Material(encoder.answer("w5 w6", f"w{n} w8"), encoder.prompt("w5 w6"), f"w{n} w8")
        for n in range(10, 13)
    ]
    assert opened.sets["forget"] == questions
    log = opened.evaluate(tiny_llama, encoder)
    by_hand = MemorizationBenchmark(questions, max_new_tokens=3).evaluate(tiny_llama, encoder)
    assert [record.generation for record in log.sets["forget"]] == [
        record.generation for record in by_hand.sets["forget"]
    ]
    assert sum(record.answer.tokens for record in log.sets["retain"]) == 58  # all but the first
    assert (log.data["path"], log.data["names"]["holdout"]) == (forget, holdout)
    fewer = MEMORIZATION.open(MemorizationOptions(forget=forget), encoder)
    assert fewer.data["hash"] != opened.data["hash"]
    assert fewer.max_new_tokens == 200


def test_everything_wrong_with_the_files_is_said_at_once(encoder, tmp_path):
    with pytest.raises(InputError, match="forget: there is nothing to measure"):
        MEMORIZATION.open(MemorizationOptions(), encoder)
    bad = write(tmp_path / "bad.jsonl", [{"question": "w5", "answer": ""}])
    with pytest.raises(InputError) as caught:
        MEMORIZATION.open(MemorizationOptions(forget=bad, holdout=str(tmp_path / "absent.txt")), encoder)
    assert [problem.where for problem in caught.value.problems] == [f"{bad}, row 1", "holdout"]
