"""A whole evaluation on a TOFU of ten questions, against each answer measured alone."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from expunge.benchmarks.tofu.benchmark import TofuBenchmark
from expunge.benchmarks.tofu.declaration import TOFU, TofuOptions
from expunge.benchmarks.tofu.open_unlearning import to_open_unlearning
from expunge.benchmarks.tofu.score import score_tofu
from expunge.data.encoding import Encoder
from expunge.errors import InputError
from expunge.evaluation.generation import greedy_continuations
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.evaluation.metric import Metric
from tofu_files import tofu_rows, write_tofu


@pytest.fixture
def benchmark(tmp_path) -> TofuBenchmark:
    return TofuBenchmark(write_tofu(tmp_path), "forget01", max_new_tokens=6)


def measured_alone(model, encoder: Encoder, question: str, answer: str) -> Likelihood:
    prompt = encoder.tokenizer(f"Question: {question} Answer:")["input_ids"]
    ids = [*prompt, *encoder.tokenizer(answer)["input_ids"], 0]
    with torch.no_grad():
        scores = torch.log_softmax(model(torch.tensor([ids])).logits[0], dim=-1)
    terms = [-scores[place - 1, ids[place]].item() for place in range(len(prompt), len(ids))]
    return Likelihood(sum(terms), len(terms))


def test_every_answer_is_in_its_place(tiny_llama, encoder, benchmark):
    log = benchmark.measure(tiny_llama, encoder)
    rows = tofu_rows()
    assert not log.generated
    for name, file in benchmark.data["names"].items():
        raw = rows[f"{file}.json"]
        assert [record.index for record in log.sets[name]] == list(range(len(raw)))
        for record, row in zip(log.sets[name], raw, strict=True):
            texts = [row["answer"], *row["perturbed_answer"]]
            found = [record.answer, *record.perturbed]
            if "paraphrased_answer" in row:
                texts.append(row["paraphrased_answer"])
                found.append(record.paraphrased)
            else:
                assert record.paraphrased is None
            for text, ours in zip(texts, found, strict=True):
                alone = measured_alone(tiny_llama, encoder, row["question"], text)
                assert (ours.loss, ours.tokens) == (pytest.approx(alone.loss, rel=1e-5), alone.tokens)
            assert (record.generation, record.truth) == (None, row["answer"])


def test_questions_are_encoded_once_for_an_encoder_and_a_part(tiny_llama, encoder, benchmark):
    """Another encoder reads them anew, and the forget set's part measures what is its own."""
    first = benchmark.workload(encoder).scored
    again = benchmark.workload(encoder).scored
    assert all(one is other for one, other in zip(first, again, strict=True))
    short = replace(encoder, max_length=encoder.max_length - 1)
    assert benchmark.workload(short).scored[0] is not first[0]
    part, whole = benchmark.forget_part().measure(tiny_llama, encoder), benchmark.measure(tiny_llama, encoder)
    assert [record.answer.tokens for record in part.sets["forget"]] == [
        record.answer.tokens for record in whole.sets["forget"]
    ]
    assert not part.sets["retain"]


def test_generations_are_those_of_the_prompts(tiny_llama, encoder, benchmark):
    log = benchmark.evaluate(tiny_llama, encoder)
    assert log.generated
    questions = [question.question for part in benchmark.sets.values() for question in part]
    prompts = [encoder.prompt(question) for question in questions]
    expected = greedy_continuations(tiny_llama, encoder.tokenizer, prompts, max_new_tokens=6)
    assert [record.generation for records in log.sets.values() for record in records] == expected


def test_log_and_export_round_trips_give_the_same_metrics(tiny_llama, encoder, benchmark, tmp_path):
    log = benchmark.evaluate(tiny_llama, encoder)
    log.model = {"path": "tiny", "fingerprint": "ab", "adapter": None}
    log.metrics = benchmark.metrics(log, log)
    content = json.loads(json.dumps(log.to_json()))
    assert content["schema"] == "expunge.evaluation/1"
    assert content["sets"]["forget"][0]["answer"].keys() == {"loss", "tokens"}
    assert EvaluationLog.from_json(content) == log
    own, theirs = tmp_path / "own.json", tmp_path / "TOFU_EVAL.json"
    own.write_text(json.dumps(content))
    exported = to_open_unlearning(log)
    theirs.write_text(json.dumps(exported))
    assert score_tofu(own, own) == log.metrics
    for name, metric in score_tofu(theirs, own).items():
        assert metric.value == pytest.approx(log.metrics[name].value, rel=1e-9), name
    forget = log.sets["forget"][1]
    score = exported["exact_memorization"]["value_by_index"]["1"]["score"]
    assert score == forget.correct / forget.answer.tokens
    assert exported["extraction_strength"]["value_by_index"]["1"]["score"] == forget.strength
    assert exported["forget_quality"]["agg_value"] == 1.0


def test_what_is_published_by_default_and_fewer_questions_of_all_but_the_forget_set(tmp_path, encoder):
    rows = tofu_rows()
    last = rows["retain_perturbed.json"]
    rows["retain_perturbed.json"] = [{**last[0], "question": f"w5 w{number}"} for number in range(10, 17)]
    options = TofuOptions(path=str(write_tofu(tmp_path, rows)), forget="forget01", samples=3)
    opened = TOFU.open(options, encoder)
    assert (opened.max_new_tokens, opened.truth_ratio) == (200, "geometric")
    assert [question.question for question in opened.sets["retain"]] == ["w5 w10", "w5 w12", "w5 w14"]
    fewer = TOFU.open(options.model_copy(update={"samples": 1}), encoder)
    # Forget Quality depends on the number of forget questions, so they are all asked.
    assert [len(part) for part in fewer.sets.values()] == [3, 1, 1, 1]


def test_the_first_questions_of_each_set(tmp_path, encoder):
    """As the papers' configurations evaluate; the data's hash is of what is asked, so logs of more do not compare."""
    options = TofuOptions(path=str(write_tofu(tmp_path)), forget="forget01")
    every, first = (TOFU.open(each, encoder) for each in (options, options.model_copy(update={"first": 2})))
    assert first.sets == {name: part[:2] for name, part in every.sets.items()}
    assert [len(part) for part in every.sets.values()] == [3, 2, 2, 3]
    assert first.data["hash"] != every.data["hash"]


def test_scores_for_choosing(benchmark):
    metrics = {
        "forget_probability": Metric(0.3, 3),
        "model_utility_teacher_forced": Metric(0.6, 7),
        "model_utility": Metric(0.9, 7),
    }
    assert benchmark.forget_score(metrics) == pytest.approx(0.7)
    assert benchmark.forget_score({**metrics, "forget_quality_log10": Metric(-4.0, 3)}) == -4.0
    assert benchmark.utility(metrics, generated=False) == 0.6


def test_on_which_side_of_the_reference_the_truth_ratios_lie(benchmark):
    """log R of each question is the average loss of the answer less that of the wrong one."""

    def log(*ratios: float) -> EvaluationLog:
        wrong = Likelihood(50.0, 10)
        records = [
            QuestionRecord(row, Likelihood(10 * (5.0 + ratio), 10), perturbed=(wrong,))
            for row, ratio in enumerate(ratios)
        ]
        return EvaluationLog("tofu", "1", False, {"forget": records})

    reference = log(*(0.1 * row for row in range(-10, 11)))
    assert benchmark.beyond(log(*(1.0 + 0.1 * row for row in range(-10, 11))), reference, None) is True
    assert benchmark.beyond(log(*(-1.0 + 0.1 * row for row in range(-10, 11))), reference, None) is False
    assert benchmark.beyond(log(*[-3.0] * 10, *[3.0] * 11), reference, None) is None
    assert benchmark.beyond(reference, None, None) is None


def test_the_best_there_is_to_reach(benchmark):
    """A p-value of 1, or without a reference, and by answers, nothing that is recalled."""
    quality = {"forget_quality_log10": Metric(-2.0, 4), "forget_rouge": Metric(0.4, 4)}
    assert benchmark.best_score(quality, "probabilities") == 0.0
    assert benchmark.best_score(quality, "answers") == 1.0
    assert benchmark.best_score({"forget_probability": Metric(0.9, 4)}, "probabilities") == 1.0
    assert benchmark.resolution(quality, "probabilities") == 0.3  # a factor of two of p
    assert benchmark.resolution(quality, "answers") == 0.02
    assert benchmark.resolution({"forget_probability": Metric(0.9, 4)}, "probabilities") == 0.02


def test_the_hash_follows_the_content(tmp_path, benchmark):
    rows = tofu_rows()
    rows["retain_perturbed.json"][1]["perturbed_answer"][0] = "w9"
    (tmp_path / "other").mkdir()
    other = TofuBenchmark(write_tofu(tmp_path / "other", rows), "forget01")
    again = TofuBenchmark(write_tofu(tmp_path), "forget01")
    assert again.data["hash"] == benchmark.data["hash"] != other.data["hash"]


def test_an_answer_outside_the_window_is_refused(tiny_llama, word_tokenizer, benchmark):
    with pytest.raises(InputError) as caught:
        benchmark.measure(tiny_llama, Encoder(word_tokenizer, max_length=6))
    assert "forget01_perturbed, row 1: an answer does not begin" in str(caught.value)
    assert len(caught.value.problems) == 10


def test_unknown_truth_ratio_is_refused_at_once(tmp_path):
    with pytest.raises(InputError, match="no truth ratio 'median'"):
        TofuBenchmark(write_tofu(tmp_path), "forget01", truth_ratio="median")


@pytest.mark.shared
@pytest.mark.slow
def test_tofu_tiny_full_does_not_pass_for_retain90(shared):
    """methods.md: log₁₀ FQ of `full` is −27.2 with N = 400; the retain model against itself is 1."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    models = shared / "models" / "tofu-tiny"
    encoder = Encoder(AutoTokenizer.from_pretrained(models / "full"))
    tofu = TofuBenchmark(shared / "data" / "tofu", "forget10")
    tofu.sets = {"forget": tofu.sets["forget"]}
    logs = {
        name: tofu.measure(AutoModelForCausalLM.from_pretrained(models / name), encoder)
        for name in ("full", "retain90")
    }
    full = tofu.metrics(logs["full"], logs["retain90"])
    assert full["forget_quality_log10"].value == pytest.approx(-27.2, abs=0.3)
    assert full["forget_probability"].value == pytest.approx(0.99, abs=0.01)
    assert tofu.metrics(logs["retain90"], logs["retain90"])["forget_quality"].value == 1.0


@pytest.mark.parametrize(("questions", "groups"), [(40, [0] * 20 + [1] * 20), (3, [None] * 3)])
def test_twenty_questions_in_a_row_are_about_one_author(
    tmp_path: Path, questions: int, groups: list[int | None]
) -> None:
    rows = tofu_rows()
    first = rows["forget01_perturbed.json"][0]
    rows["forget01_perturbed.json"] = [{**first, "question": f"w3 {number}"} for number in range(questions)]
    known = TofuBenchmark(write_tofu(tmp_path, rows), "forget01").wordings()
    assert [known[f"w3 {number}"].group for number in range(questions)] == groups
