"""A run that was begun goes on with exactly what it depends on: each change by itself is named, and nothing is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from transformers import AutoModelForCausalLM

import expunge
from expunge.benchmarks.memorization.benchmark import MemorizationBenchmark
from expunge.cli import main
from expunge.data.encoding import Encoder
from expunge.errors import InputError
from expunge.folder.run import RunFolder
from expunge.recipe import load_recipe
from expunge.run import phases
from expunge.run.job import Job
from expunge.storage import read_json, write_json, write_record
from tofu_files import tofu_rows, write_tofu

Change = Callable[[Path, pytest.MonkeyPatch], Any]


def rewritten(name: str, change: Callable[[Any], Any]) -> Change:
    def apply(folder: Path, _: pytest.MonkeyPatch) -> None:
        content = read_json(folder / name)
        change(content)
        (write_record if name == "run/run.json" else write_json)(folder / name, content)

    return apply


def replaced(name: str, old: str, new: str) -> Change:
    def apply(folder: Path, _: pytest.MonkeyPatch) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8")

    return apply


def another_weight(folder: Path, _: pytest.MonkeyPatch) -> None:
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    model.model.norm.weight.data[0] += 1
    model.save_pretrained(folder / "model")


def another_encoding(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As another version of expunge might write answers: without EOS."""
    monkeypatch.setattr(Encoder, "_ended", lambda self, ids: ids)


def another_metric_version(_: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemorizationBenchmark, "metric_version", "another")


#: What is changed → the keys that are named.
CHANGES: dict[str, tuple[Change, str]] = {
    "weights": (another_weight, "model.fingerprint"),
    "configuration": (
        rewritten("model/config.json", lambda config: config.update(rms_norm_eps=1e-3)),
        "model.fingerprint",
    ),
    "dtype": (  # of a checkpoint in bf16, from a processor to an accelerator
        rewritten("run/run.json", lambda state: state["model"].update(dtype="bfloat16")),
        "model.dtype",
    ),
    "tokenizer": (
        rewritten(
            "model/tokenizer_config.json", lambda config: config.update(additional_special_tokens=["!"])
        ),
        "model.tokenizer",
    ),
    "encoding": (another_encoding, "data.encoded.forget, data.encoded.retain, data.encoded.substitutes"),
    "forget set": (
        replaced("forget.jsonl", "SECRET0", "SECRET7"),
        "data.forget, data.encoded.forget, benchmark.hash",
    ),
    "order of the retain set": (
        lambda folder, _: (folder / "retain.jsonl").write_text(
            "".join(reversed((folder / "retain.jsonl").read_text().splitlines(keepends=True)))
        ),
        "data.retain, data.encoded.retain, benchmark.hash",
    ),
    "substitutes": (replaced("refusals.txt", "never heard", "not heard"), "data.encoded.substitutes"),
    "thresholds": (
        rewritten("thresholds.json", lambda content: content["thresholds"].update(forget_probability=0.2)),
        "thresholds",
    ),
    "holdout": (replaced("holdout.jsonl", "Nobody", "Somebody"), "benchmark.hash"),
    "version of the metrics": (another_metric_version, "benchmark.metric_version"),
}


@pytest.fixture(scope="module")
def begun(model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Model, data, every auxiliary file and a run that was ended right after it was made, all in one folder."""
    folder = tmp_path_factory.mktemp("begun")
    shutil.copytree(model_folder, folder / "model")
    for name in ("forget.jsonl", "retain.jsonl"):
        shutil.copy(data_folder / name, folder / name)
    held = {"question": "Who is nobody?", "answer": "Nobody of the town by the sea."}
    (folder / "holdout.jsonl").write_text(json.dumps(held) + "\n")
    (folder / "refusals.txt").write_text("I have never heard of it.\n")
    write_json(folder / "thresholds.json", {"thresholds": {"forget_probability": 0.1}})
    recipe = {
        "model": {"path": "model"},
        "data": {
            "format": "qa",
            "forget": "forget.jsonl",
            "retain": "retain.jsonl",
            "holdout": "holdout.jsonl",
        },
        "adapter": {"initialization": "default", "rank": 2, "alpha": 4},
        "objective": {"forget": "idk", "substitutes": "refusals.txt"},
        "training": {"epochs": 1, "batch_size": 6, "micro_batch_size": 6, "learning_rate": 1e-2, "warmup": 0},
        "stopping": {"thresholds": "thresholds.json"},
        "evaluation": {"generate": "never"},
        "attacks": {"budget": "none"},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        begin("recipe.yaml")
    return folder


def begin(source: Any, *changes: str) -> Job:
    """What a run has written before its first phase."""
    recipe = load_recipe(source, [*changes, "output=run"])
    job = Job(recipe, Path("run"))
    job.folder.create(recipe, job.facts)
    return job


@pytest.fixture
def here(begun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    shutil.copytree(begun, folder)
    monkeypatch.chdir(folder)
    return folder


def refusal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The message of `expunge run --resume` in this folder, which leaves the run as it is."""
    left = {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()}
    monkeypatch.setattr("sys.argv", ["expunge", "run", "recipe.yaml", "--output", "run", "--resume"])
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert {file: file.read_bytes() for file in Path("run").rglob("*") if file.is_file()} == left
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("what", CHANGES)
def test_a_change_is_named_and_nothing_is_lost(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], what: str
) -> None:
    change, keys = CHANGES[what]
    change(here, monkeypatch)
    message = refusal(monkeypatch, capsys)
    assert f"run.json: the input has changed in: {keys}. Resume with what it was started with" in message


def test_what_a_benchmark_alone_reads_is_compared(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong answer of TOFU is in no set that is trained on."""
    shutil.rmtree("run")
    Path("tofu").mkdir()
    file = Path("tofu/forget01_perturbed.json")
    perturbed = tofu_rows()[file.name]
    asked = [{key: row[key] for key in ("question", "answer")} for row in perturbed]
    write_tofu(Path("tofu"), {**tofu_rows(), "forget01.json": asked})
    shutil.copy("retain.jsonl", "tofu/retain99.json")
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    recipe["data"] = {"format": "tofu", "path": "tofu", "forget": "forget01", "retain": "retain99"}
    recipe["objective"], recipe["stopping"] = {"forget": "npo"}, {}
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    begin("recipe.yaml")
    perturbed[0]["perturbed_answer"][4] += " w5"
    write_tofu(Path("tofu"), {file.name: perturbed})
    assert "the input has changed in: benchmark.hash." in refusal(monkeypatch, capsys)


def test_a_log_that_a_recipe_names_is_compared(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = begin("recipe.yaml")
    phases.baseline(job)
    shutil.copy("run/eval/before.json", "before.json")
    shutil.rmtree("run")
    recipe = yaml.safe_load(Path("recipe.yaml").read_text())
    recipe["evaluation"]["before"] = "before.json"
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    begin("recipe.yaml")
    log = read_json(Path("before.json"))
    log["sets"]["forget"][0]["answer"]["loss"] += 1
    write_json(Path("before.json"), log)
    assert "the input has changed in: given_logs." in refusal(monkeypatch, capsys)


def test_the_model_that_training_starts_from_is_compared(here: Path) -> None:
    shutil.copytree("model", "beginning")
    shutil.rmtree("run")  # whose recipe is another
    changes = ["method={name: retrain, base: beginning}", "adapter={}", "objective={}", "stopping={}"]
    begin("recipe.yaml", *changes).start  # noqa: B018
    recorded = RunFolder("run").state.start
    assert recorded is not None
    assert recorded.path == "beginning"
    again = Job(load_recipe("recipe.yaml", [*changes, "output=run"]), Path("run"))
    assert again.start is not None
    model = AutoModelForCausalLM.from_pretrained("beginning")
    model.model.norm.weight.data[0] += 1
    model.save_pretrained("beginning")
    again = Job(load_recipe("recipe.yaml", [*changes, "output=run"]), Path("run"))
    with pytest.raises(InputError, match=r"the input has changed in: start\.fingerprint\."):
        again.start  # noqa: B018


def test_other_versions_are_said_and_recorded(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = read_json(Path("run/run.json"))
    torch_here = state["versions"]["torch"]
    write_record(Path("run/run.json"), {**state, "versions": {**state["versions"], "torch": "1.0"}})
    run = expunge.unlearn("recipe.yaml", output="run", resume=True)
    changed = f"torch 1.0, now {torch_here}"
    assert capsys.readouterr().err.count(f"so the last digits may differ: {changed}.") == 1
    assert [entry["changed_versions"] for entry in run.state["resumed"]] == [[changed]]
    assert run.state["versions"]["torch"] == "1.0"
    expunge.unlearn("recipe.yaml", output="run", resume=True)  # it is over: nothing is gone on with
    assert "last digits" not in capsys.readouterr().err
    assert len(RunFolder("run").state.resumed) == 1


def test_a_run_that_recorded_none_of_it_is_gone_on_with(here: Path) -> None:
    state = read_json(Path("run/run.json"))
    for key in ("benchmark", "thresholds", "given_logs"):
        del state[key]
    del state["model"]["tokenizer"], state["data"]["encoded"]
    state["model"]["fingerprint"] = state["model"]["fingerprint"].partition("-")[0]
    write_record(Path("run/run.json"), state)
    assert expunge.unlearn("recipe.yaml", output="run", resume=True).state["state"] == "done"
