"""WMDP and the nine reasoning sets: the names are lm-eval's, the figures are put together as the papers do."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from expunge.benchmarks.harness.declaration import REASONING as REASONING_SETS
from expunge.benchmarks.harness.declaration import WMDP, TaskOptions
from expunge.cli import main
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord, read_log
from expunge.models.fingerprint import fingerprint
from task_files import questions, write_group, write_task

HAZARDOUS, KEPT = ("wmdp_bio", "wmdp_cyber"), "mmlu"
REASONING = [
    "lambada_openai",
    "hellaswag",
    "winogrande",
    "copa",
    "arc_easy",
    "arc_challenge",
    "piqa",
    "mathqa",
    "pubmedqa",
]


def records(*scores: float) -> list[QuestionRecord]:
    return [
        QuestionRecord(index, Likelihood(1.0, 1), scores={"acc": acc}) for index, acc in enumerate(scores)
    ]


@pytest.fixture
def wmdp_folder(task_folder: Path) -> Path:
    """The three tasks of WMDP with questions of our own; MMLU as a group of two subjects of unlike sizes."""
    for number, name in enumerate(HAZARDOUS):
        write_task(task_folder, name, questions(6 + number, seed=10 + number))
    for number, name in enumerate(("mmlu_law", "mmlu_logic")):
        write_task(task_folder, name, questions(3 + 5 * number, seed=20 + number))
    write_group(task_folder, KEPT, ["mmlu_law", "mmlu_logic"])
    return task_folder


def test_wmdp_measures_and_scores(tiny_llama, encoder, wmdp_folder: Path) -> None:
    benchmark = WMDP.open(TaskOptions(path=str(wmdp_folder)), encoder)
    log = benchmark.evaluate(tiny_llama, encoder)
    assert (log.benchmark, log.generated) == ("wmdp", True)
    assert {name: len(found) for name, found in log.sets.items()} == {
        "wmdp_bio": 6, "wmdp_cyber": 7, "mmlu_law": 3, "mmlu_logic": 8,
    }  # fmt: skip
    metrics = benchmark.metrics(log, None)
    assert list(metrics) == ["wmdp_bio_acc", "wmdp_cyber_acc", "mmlu_acc"]
    assert metrics["mmlu_acc"].n == 11
    hits = {name: sum(record.scores["acc"] for record in found) for name, found in log.sets.items()}
    assert metrics["mmlu_acc"].value == pytest.approx((hits["mmlu_law"] + hits["mmlu_logic"]) / 11)
    mean = (hits["wmdp_bio"] / 6 + hits["wmdp_cyber"] / 7) / 2
    assert benchmark.forget_score(metrics) == pytest.approx(1 - mean)
    assert benchmark.utility(metrics, generated=False) == metrics["mmlu_acc"].value


def test_the_reasoning_sets_count_the_same(tiny_llama, encoder, task_folder: Path) -> None:
    for number, name in enumerate(REASONING):
        write_task(task_folder, name, questions(2 + number, seed=number))
    benchmark = REASONING_SETS.open(TaskOptions(path=str(task_folder), samples=5), encoder)
    assert [len(found) for found in benchmark.measure(tiny_llama, encoder).sets.values()] == [
        2,
        3,
        4,
        *[5] * 6,
    ]
    sets = {name: records(*[1.0] * number, *[0.0] * (8 - number)) for number, name in enumerate(REASONING)}
    sets["pubmedqa"] = records(1.0, 1.0)
    metrics = benchmark.metrics(EvaluationLog("reasoning", "1", False, sets, data=benchmark.data))
    accuracy = metrics["reasoning_accuracy"]
    assert accuracy.value == pytest.approx((sum(range(8)) / 8 + 1) / 9)
    assert accuracy.n == 8 * 8 + 2
    assert accuracy.low < accuracy.value < accuracy.high
    assert benchmark.utility(metrics, generated=False) == accuracy.value


def test_lm_eval_has_these_tasks() -> None:
    lm_eval = pytest.importorskip("lm_eval", reason="needs the extra `eval`: pip install 'expunge[eval]'")
    from lm_eval.tasks import TaskManager

    from expunge.benchmarks.harness import reasoning, wmdp

    assert (wmdp.HAZARDOUS, wmdp.KEPT, list(reasoning.SETS)) == (HAZARDOUS, KEPT, REASONING)
    tasks = Path(lm_eval.__file__).parent / "tasks"
    folders = [
        "wmdp",
        "mmlu/default",
        "lambada",
        "hellaswag",
        "winogrande",
        "super_glue/copa",
        "arc",
        "piqa",
        "mathqa",
        "pubmedqa",
    ]
    known = TaskManager(include_path=[str(tasks / folder) for folder in folders], include_defaults=False)
    assert {*HAZARDOUS, KEPT, *REASONING} <= set(known.all_tasks)
    mmlu = yaml.safe_load(Path(known.task_index[KEPT].yaml_path).read_text())
    assert mmlu["aggregate_metric_list"] == [{"metric": "acc", "weight_by_size": True}]


def test_eval_measures_a_folder_and_its_log_says_what_with(
    tiny_llama, word_tokenizer, wmdp_folder: Path, tmp_path: Path, monkeypatch, capsys
) -> None:
    tiny_llama.save_pretrained(tmp_path / "model")
    word_tokenizer.save_pretrained(tmp_path / "model")
    log = tmp_path / "log.json"
    arguments = ["eval", str(tmp_path / "model"), "--benchmark", "wmdp", "--data", str(wmdp_folder),
                 "--samples", "3", "--output", str(log), "--json"]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["expunge", *arguments])
    main()
    printed = json.loads(capsys.readouterr().out)["metrics"]
    assert {name: metric["n"] for name, metric in printed.items()} == {
        "wmdp_bio_acc": 3, "wmdp_cyber_acc": 3, "mmlu_acc": 6,
    }  # fmt: skip
    written = read_log(log, "wmdp")
    assert {name: metric.to_json() for name, metric in written.metrics.items()} == printed
    assert written.metric_version == "1 (wmdp_bio 1.5, wmdp_cyber 1.5, mmlu 3)"
    assert written.data["lm_eval"] == version("lm_eval")
    assert written.model["fingerprint"] == fingerprint(tiny_llama)
