"""lm-eval in process: tasks and data are files that the test writes, and every figure is computed again by hand."""

from __future__ import annotations

import json
import random
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from task_files import CHOICES
from torch import Tensor

from expunge.data.encoding import Encoder
from expunge.errors import InputError
from expunge.evaluation.benchmarks import BenchmarkSource, open_benchmark
from expunge.evaluation.log import EvaluationLog, QuestionRecord


def harness(task_folder: Path, encoder: Encoder, names: str, samples: int | None = None) -> Any:
    return open_benchmark("lm-eval", BenchmarkSource(str(task_folder), names, samples=samples), encoder)


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
    log = harness(task_folder, encoder, "letters,phrases").measure(tiny_llama, encoder)
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
    from expunge.evaluation.harness import tasks

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
    assert "--forget: no task is named" in sentences(task_folder, encoder, " , ")
    assert "there is no folder" in sentences(task_folder / "absent", encoder, "letters")


def _own_tasks(include_path: str) -> Any:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=include_path, include_defaults=False)


def test_without_lm_eval_the_command_that_installs_it_is_named(encoder, monkeypatch) -> None:
    import sys

    for name in [
        name for name in sys.modules if name.startswith(("lm_eval", "expunge.evaluation.harness.tasks"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(InputError, match=r"pip install 'expunge\[eval\]'"):
        open_benchmark("wmdp", BenchmarkSource(), encoder)
