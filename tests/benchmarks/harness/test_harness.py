"""lm-eval in process: tasks and data are files that the test writes, and every figure is computed again by hand."""

from __future__ import annotations

import json
import logging
import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from peft import LoraConfig, get_peft_model
from torch import Tensor

from expunge.benchmarks.harness.declaration import HARNESS, WMDP, HarnessOptions, TaskOptions
from expunge.data.encoding import Encoder
from expunge.errors import InputError
from expunge.evaluation.log import EvaluationLog, QuestionRecord
from expunge.models.half_precision import passing_in
from expunge.trust import trusting
from task_files import CHOICES


def harness(task_folder: Path, encoder: Encoder, names: str, samples: int | None = None) -> Any:
    return HARNESS.open(HarnessOptions(path=str(task_folder), forget=names, samples=samples), encoder)


def rows(task_folder: Path, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (task_folder / f"{name}.jsonl").read_text().splitlines()]


@torch.no_grad()
def losses(model: Any, tokenizer: Any, context: str, continuation: str) -> Tensor:
    """The oracle: −log p of every token of the continuation, one sequence at a time, nothing padded."""
    before = len(tokenizer(context)["input_ids"])
    ids = torch.tensor([tokenizer(f"{context} {continuation}")["input_ids"]])
    log_p = model(ids).logits.log_softmax(-1)
    return -log_p[0, before - 1 : -1].gather(-1, ids[0, before:, None]).squeeze(-1)


def check_choices(records: list[QuestionRecord], model: Any, tokenizer: Any, questions: list[dict[str, Any]],
                  choices: Any, metric: str = "acc", length: Any = lambda choice: 1) -> list[float]:  # fmt: skip
    """Compare every record with the oracle; returns the accuracies."""
    found = []
    for record, row in zip(records, questions, strict=True):
        context = f"Question: {row['question']} Answer:"
        options = choices(row)
        tokens = [losses(model, tokenizer, context, choice) for choice in options]
        loss = [float(each.sum()) for each in tokens]
        best = min(range(4), key=lambda index: loss[index] / length(options[index]))
        wrong = [index for index in range(4) if index != row["answer"]]
        assert record.answer.loss == pytest.approx(loss[row["answer"]], rel=1e-4)
        assert [other.loss for other in record.perturbed] == pytest.approx([loss[i] for i in wrong], rel=1e-4)
        assert record.answer.tokens == len(tokens[row["answer"]])
        assert [other.tokens for other in record.perturbed] == [len(tokens[index]) for index in wrong]
        assert record.scores[metric] == float(best == row["answer"])
        found.append(record.scores[metric])
    return found


def test_accuracies_are_those_of_a_loop_over_choices(tiny_llama, encoder, task_folder: Path) -> None:
    benchmark = harness(task_folder, encoder, "letters,phrases,last_word")
    log = benchmark.measure(tiny_llama, encoder)
    assert (log.benchmark, log.generated) == ("lm-eval", False)
    letters, phrases = rows(task_folder, "letters"), rows(task_folder, "phrases")
    tokenizer = encoder.tokenizer
    one = check_choices(log.sets["letters"], tiny_llama, tokenizer, letters, lambda row: CHOICES)
    several = check_choices(log.sets["phrases"], tiny_llama, tokenizer, phrases, lambda row: row["choices"])
    normalised = check_choices(
        log.sets["phrases"], tiny_llama, tokenizer, phrases, lambda row: row["choices"], "acc_norm", len
    )
    for record, row in zip(log.sets["last_word"], rows(task_folder, "last_word"), strict=True):
        context = f"Question: {row['question']} Answer:"
        assert record.answer.loss == pytest.approx(
            float(losses(tiny_llama, tokenizer, context, row["choices"][0]).sum()), rel=1e-4
        )
    metrics = benchmark.metrics(log, None)
    assert list(metrics) == ["letters_acc", "phrases_acc", "phrases_acc_norm", "last_word_acc"]
    assert 0 < metrics["letters_acc"].value < 1
    assert metrics["letters_acc"].value == pytest.approx(sum(one) / 11)
    assert metrics["phrases_acc"].value == pytest.approx(sum(several) / 7)
    assert metrics["phrases_acc_norm"].value == pytest.approx(sum(normalised) / 7)
    assert [metric.n for metric in metrics.values()] == [11, 7, 7, 5]
    assert metrics["letters_acc"].low < metrics["letters_acc"].value < metrics["letters_acc"].high
    assert EvaluationLog.from_json(json.loads(json.dumps(log.to_json()))) == log


def test_few_shot_prompts_are_those_of_lm_eval_itself(tiny_llama, encoder, task_folder: Path) -> None:
    """The examples are drawn by a seed, so its own evaluation is the oracle."""
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    for name in ("letters", "phrases"):
        file = task_folder / f"{name}.yaml"
        file.write_text(file.read_text() + "num_fewshot: 2\nfewshot_split: test\n")
    benchmark = harness(task_folder, encoder, "letters,phrases")
    log = benchmark.measure(tiny_llama, encoder)
    assert benchmark.measure(tiny_llama, encoder) == log  # after the next epoch too
    theirs = simple_evaluate(
        HFLM(pretrained=tiny_llama, tokenizer=deepcopy(encoder.tokenizer), batch_size=1),
        tasks=["letters", "phrases"],
        task_manager=_own_tasks(str(task_folder)),
        bootstrap_iters=0,
    )
    for name, records in log.sets.items():
        for record, sample in zip(records, theirs["samples"][name], strict=True):
            losses = [-response[0][0] for response in sample["resps"]]
            assert record.answer.loss == pytest.approx(losses[sample["doc"]["answer"]], rel=1e-4)
            assert record.scores["acc"] == sample["acc"]


def test_the_log_names_versions_data_and_what_was_asked(tiny_llama, encoder, task_folder: Path) -> None:
    benchmark = harness(task_folder, encoder, "both,last_word")
    assert benchmark.metric_version == "1 (both 3, last_word 1.5)"
    assert benchmark.data["figures"] == {"both": ["letters", "phrases"], "last_word": ["last_word"]}
    assert benchmark.data["tasks"]["phrases"] == {"version": "1.5", "documents": 7}
    assert benchmark.data["path"] == str(task_folder)
    fewer = harness(task_folder, encoder, "both,last_word", samples=4)
    assert fewer.data["tasks"]["phrases"]["documents"] == 4
    assert fewer.data["hash"] != benchmark.data["hash"]
    log = fewer.measure(tiny_llama, encoder)
    assert [len(records) for records in log.sets.values()] == [4, 4, 4]
    assert fewer.metrics(log, None)["both_acc"].n == 8


def test_a_group_is_the_mean_over_its_questions_where_lm_eval_says_so(encoder, task_folder: Path) -> None:
    benchmark = harness(task_folder, encoder, "both")
    sets = {
        "letters": [QuestionRecord(0, answer=None, scores={"acc": 1.0})] * 11,  # type: ignore[arg-type]
        "phrases": [QuestionRecord(0, answer=None, scores={"acc": 0.0})] * 7,  # type: ignore[arg-type]
    }
    metrics = benchmark.metrics(EvaluationLog("lm-eval", "1", False, sets, data=benchmark.data))
    assert list(metrics) == ["both_acc"]
    assert (metrics["both_acc"].value, metrics["both_acc"].n) == (pytest.approx(11 / 18), 18)
    assert list(harness(task_folder, encoder, "halves").data["figures"]) == ["letters", "phrases"]


def test_generated_answers_come_with_generate(tiny_llama, encoder, task_folder: Path) -> None:
    benchmark = harness(task_folder, encoder, "essay,letters")
    measured = benchmark.measure(tiny_llama, encoder)
    assert list(measured.sets) == ["letters"]
    log = benchmark.generate(tiny_llama, encoder, measured)
    assert (list(log.sets), log.generated) == (["letters", "essay"], True)
    for record, row in zip(log.sets["essay"], rows(task_folder, "essay"), strict=True):
        ids = torch.tensor([encoder.tokenizer(f"Question: {row['question']} Answer:")["input_ids"]])
        for _ in range(3):
            chosen = tiny_llama(ids).logits[0, -1].argmax()
            ids = torch.cat([ids, chosen[None, None]], dim=1)
        written = encoder.tokenizer.decode(ids[0, -3:], skip_special_tokens=True).split("w3")[0]
        assert record.generation.split() == written.split()
        assert record.truth == row["choices"][0]
        assert record.scores == {"exact_match": float(record.generation.strip() == record.truth)}


def test_the_model_and_random_numbers_are_left_as_they_were(tiny_llama, encoder, task_folder: Path) -> None:
    benchmark = harness(task_folder, encoder, "letters,essay")
    tiny_llama.train()
    tiny_llama.model.layers[1].eval()
    modes = [module.training for module in tiny_llama.modules()]
    padding = encoder.tokenizer.pad_token
    states = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())
    first = benchmark.evaluate(tiny_llama, encoder)
    assert [module.training for module in tiny_llama.modules()] == modes
    assert (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()) == states
    assert encoder.tokenizer.pad_token == padding
    assert benchmark.evaluate(tiny_llama, encoder) == first


def test_an_adapted_model_is_measured_with_its_adapter(tiny_llama, encoder, task_folder: Path) -> None:
    benchmark = harness(task_folder, encoder, "letters")
    base = benchmark.measure(tiny_llama, encoder)
    adapted = get_peft_model(
        tiny_llama, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False)
    )
    log = benchmark.measure(adapted, encoder)
    check_choices(
        log.sets["letters"], adapted, encoder.tokenizer, rows(task_folder, "letters"), lambda row: CHOICES
    )
    assert log.sets["letters"][0].answer.loss != pytest.approx(base.sets["letters"][0].answer.loss, rel=1e-3)


def test_what_is_longer_than_the_model_is_said(tiny_llama, encoder, task_folder: Path, capsys) -> None:
    tiny_llama.config.max_position_embeddings = 8
    harness(task_folder, encoder, "letters").measure(tiny_llama, encoder)
    assert "prompts exceed 8 tokens; their beginnings are cut off" in capsys.readouterr().err


def sentences(task_folder: Path, encoder: Encoder, names: str) -> str:
    with pytest.raises(InputError) as caught:
        harness(task_folder, encoder, names)
    return str(caught.value)


def test_tasks_that_cannot_be_measured_are_all_named(encoder, task_folder: Path, monkeypatch) -> None:
    from expunge.benchmarks.harness import tasks

    # Without lm-eval's own 14,000 tasks, whose index takes long to build.
    monkeypatch.setattr(tasks, "TaskManager", lambda include_path, **_: _own_tasks(include_path))
    (task_folder / "letters.jsonl").unlink()
    text = (
        (task_folder / "last_word.yaml")
        .read_text()
        .replace("- aggregation: mean", "- aggregation: perplexity")
    )
    (task_folder / "last_word.yaml").write_text(text)
    found = sentences(task_folder, encoder, "letters,frases,last_word")
    assert "task letters: it cannot be loaded: FileNotFoundError" in found
    assert "lm-eval has no task 'frases'. Did you mean 'phrases'?" in found
    assert "task last_word: none of its metrics is a mean over questions" in found
    assert "forget: no task is named" in sentences(task_folder, encoder, " , ")
    assert "there is no folder" in sentences(task_folder / "absent", encoder, "letters")


def change_row(folder: Path, name: str, number: int, **values: Any) -> None:
    """Change a row of a task's data; a column of `...` is left out."""
    changed = rows(folder, name)
    row = {**changed[number - 1], **values}
    changed[number - 1] = {column: value for column, value in row.items() if value is not ...}
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in changed))


@pytest.mark.parametrize(
    ("task", "values", "fault"),
    [
        ("letters", {"answer": 4}, "its answer is 4, which is none of its 4 choices"),
        ("letters", {"answer": -1}, "its answer is -1, which is none of its 4 choices"),
        ("letters", {"answer": None}, "its answer is None, which is none of its 4 choices"),
        ("letters", {"question": ...}, "its 'question' lacks a value, in whose place the word None would be asked"),
        ("phrases", {"answer": 2, "choices": ["w1", "w2"]}, "its answer is 2, which is none of its 2 choices"),
        ("phrases", {"choices": ...}, "its choices are None, not a list of texts"),
        ("phrases", {"choices": ["w1", None, "w2", "w3"]}, "its choices are ['w1', None, 'w2', 'w3'], not"),
        ("last_word", {"choices": []}, "it cannot be written (UndefinedError: "),
        ("last_word", {"choices": [None]}, "its 'choices' lacks a value, in whose place the word None"),
        ("last_word", {"choices": ["w5", None]}, None),
        ("essay", {"question": None}, "its 'question' lacks a value"),
    ],
)  # fmt: skip
def test_a_broken_document_is_refused_before_the_model_is_asked(
    encoder, task_folder: Path, task: str, values: dict[str, Any], fault: str | None
) -> None:
    """lm-eval would count it as answered wrongly, or show the word None."""
    change_row(task_folder, task, 3, **values)
    if fault is None:
        assert harness(task_folder, encoder, task)
    else:
        assert f"task {task}, document 3: {fault}" in sentences(task_folder, encoder, task)
    assert harness(task_folder, encoder, task, samples=2)


def test_an_answer_that_is_a_text_must_be_a_choice(tiny_llama, encoder, task_folder: Path) -> None:
    for number, row in enumerate(rows(task_folder, "letters"), start=1):
        change_row(task_folder, "letters", number, answer=CHOICES[row["answer"]])
    right = [CHOICES.index(row["answer"]) for row in rows(task_folder, "letters")]
    log = harness(task_folder, encoder, "letters").measure(tiny_llama, encoder)
    for record, row, place in zip(log.sets["letters"], rows(task_folder, "letters"), right, strict=True):
        context = f"Question: {row['question']} Answer:"
        loss = losses(tiny_llama, encoder.tokenizer, context, CHOICES[place])
        assert record.answer.loss == pytest.approx(float(loss.sum()), rel=1e-4)
    change_row(task_folder, "letters", 3, answer="x")
    change_row(task_folder, "letters", 5, answer="w1")
    found = sentences(task_folder, encoder, "letters")
    assert "task letters, document 3: its answer is 'x', which is none of its 4 choices." in found
    assert "task letters, document 5: its answer is 'w1'" in found
    assert found.count("\n") == 1


def test_several_right_answers_must_all_be_choices(tiny_llama, encoder, task_folder: Path) -> None:
    for number in range(1, 12):
        change_row(task_folder, "letters", number, answer=[2, 1])
    log = harness(task_folder, encoder, "letters").measure(tiny_llama, encoder)
    context = f"Question: {rows(task_folder, 'letters')[0]['question']} Answer:"
    loss = losses(tiny_llama, encoder.tokenizer, context, CHOICES[2])
    assert log.sets["letters"][0].answer.loss == pytest.approx(float(loss.sum()), rel=1e-4)
    for wrong in ([1, 4], []):
        change_row(task_folder, "letters", 3, answer=wrong)
        assert f"task letters, document 3: its answer is {wrong}" in sentences(
            task_folder, encoder, "letters"
        )


def test_choices_may_be_part_of_the_question(tiny_llama, encoder, task_folder: Path) -> None:
    """As in WinoGrande: the text is the right choice's place, and what follows it is the same for all."""
    file = task_folder / "letters.yaml"
    other = {"doc_to_text": "{{answer}}", "doc_to_choice": "choices", "doc_to_target": "{{question}}"}
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **other}))
    log = harness(task_folder, encoder, "letters").measure(tiny_llama, encoder)
    for record, row in zip(log.sets["letters"], rows(task_folder, "letters"), strict=True):
        loss = losses(tiny_llama, encoder.tokenizer, row["choices"][row["answer"]], row["question"])
        assert record.answer.loss == pytest.approx(float(loss.sum()), rel=1e-4)
    change_row(task_folder, "letters", 3, answer=4)
    change_row(task_folder, "letters", 4, question=None)
    found = sentences(task_folder, encoder, "letters")
    assert "document 3: its answer is 4, which is none of its 4 choices" in found
    assert "document 4: its 'question' lacks a value" in found


def test_a_null_that_a_template_provides_for_is_none_of_our_business(encoder, task_folder: Path) -> None:
    file = task_folder / "letters.yaml"
    hint = "{% if hint is none %}{% else %}{{hint}}{% endif %}{% if more %}{{more}}{% endif %} None of it? "
    file.write_text(file.read_text().replace("Question:", hint + "Question:"))
    for number in range(1, 12):
        change_row(task_folder, "letters", number, hint="w5", more="w6")
    change_row(task_folder, "letters", 3, hint=None, more=None)
    assert harness(task_folder, encoder, "letters")


def test_a_task_that_judges_by_itself_has_no_right_choice_in_the_log(
    tiny_llama, encoder, task_folder: Path
) -> None:
    (task_folder / "own.py").write_text("def judge(doc, results):\n    return {'acc': 0.5}\n")
    file = task_folder / "letters.yaml"
    file.write_text(file.read_text() + "process_results: !function own.judge\n")
    change_row(task_folder, "letters", 3, answer=9)
    with trusting(True):
        log = harness(task_folder, encoder, "letters").measure(tiny_llama, encoder)
    for record in log.sets["letters"]:
        assert (record.answer.tokens, len(record.perturbed), record.scores) == (0, 4, {"acc": 0.5})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "task letters: its data hold no document."),
        ("no JSON\n", "task letters: it cannot be loaded: DatasetGenerationError: "),
        ("no JSON\n", "JSON parse error: Invalid value. in row 0"),
        ('{"question": "w5", "answer": 9}\n', "task letters: it cannot be loaded: IndexError: "),
        ('{"question": "w5", "answer": 9}\n', "the first one's answer is none of its choices"),
    ],
)
def test_data_that_cannot_be_read(encoder, task_folder: Path, content: str, reason: str) -> None:
    (task_folder / "letters.jsonl").write_text(content)
    assert reason in sentences(task_folder, encoder, "letters")


def test_a_metric_that_lm_eval_does_not_compute_is_refused(encoder, task_folder: Path, monkeypatch) -> None:
    def load(name: str) -> None:
        raise FileNotFoundError(name)

    monkeypatch.setattr("evaluate.load", load)
    for name, metric in (("letters", "acc_nrom"), ("essay", "exact"), ("last_word", "acc_norm")):
        file = task_folder / f"{name}.yaml"
        rule = {"metric": metric, "aggregation": "mean", "higher_is_better": True}
        file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "metric_list": [rule]}))
    found = sentences(task_folder, encoder, "letters,essay,last_word")
    for name, metric, near in (("letters", "acc_nrom", "acc_norm"), ("essay", "exact", "exact_match")):
        assert f"task {name}: its metric '{metric}' is none of lm-eval's" in found
        assert f"load it. Did you mean '{near}'?" in found
    assert "task last_word: none of its metrics is a mean over questions" in found


def test_lm_evals_own_warnings_are_shown_but_for_those_about_memory(tiny_llama, encoder, caplog) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra `eval`: pip install 'expunge[eval]'")
    from expunge.benchmarks.harness.model import InMemoryModel, undisturbed

    with undisturbed(tiny_llama):
        assert not torch.is_autocast_enabled("cpu")  # it is small
        InMemoryModel(tiny_llama, encoder.tokenizer)
        logging.getLogger("lm_eval.api.task").warning("of a task")
    assert caplog.messages == ["of a task"]


def _own_tasks(include_path: str) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=include_path, include_defaults=False)


def test_without_lm_eval_the_command_that_installs_it_is_named(encoder, monkeypatch) -> None:
    import sys

    for name in [
        name for name in sys.modules if name.startswith(("lm_eval", "expunge.benchmarks.harness.tasks"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(InputError, match=r"pip install 'expunge\[eval\]'"):
        WMDP.open(TaskOptions(), encoder)


def test_a_task_passes_in_what_the_run_does(tiny_llama, monkeypatch):
    from expunge.benchmarks.harness.model import undisturbed

    monkeypatch.setattr("expunge.models.half_precision.LEAST_PARAMETERS", 1)
    monkeypatch.setattr("expunge.models.half_precision.device", lambda: torch.device("cpu"))
    for precision in ("fp32", "bf16"):
        with passing_in(precision), undisturbed(tiny_llama):
            assert torch.is_autocast_enabled("cpu") is (precision == "bf16")
    assert not torch.is_autocast_enabled("cpu")
