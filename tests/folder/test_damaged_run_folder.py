"""Whatever stands in a file of a run folder, a report, an export or a resumed run says so in a sentence, or goes on.

The folders are those of `earlier_version`: finished, with two epochs' lines of metrics and steps, and of two requests.
"""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from safetensors.numpy import save_file

import expunge
from expunge.cli import main
from expunge.errors import InputError
from expunge.folder.run import RunFolder, read_run_folder
from expunge.report.card import write_model_card
from expunge.report.continual_card import write_continual_card
from expunge.report.figures import loss_curves, utility_against_forgetting
from expunge.report.page import gather_evidence
from expunge.report.rewrite import report_run
from expunge.report.samples import samples
from expunge.report.tables import request_rows
from expunge.run.export import export_run
from expunge.storage import read_json, read_json_lines, write_json, write_json_lines

CHECKOUT = Path(__file__).parents[2]
FOLDERS = Path(__file__).parent / "earlier_version"
ALIKE = (("forget_probability", "retain_probability"), ("baseline", "export"), ("torch", "expunge"))
DELETED = "deleted"
#: What any value is replaced by.
OTHERS: tuple[Any, ...] = (None, -1.5, "a word", ["a word"], {"a word": 1}, DELETED)
#: What later versions record.
LATER = {
    "benchmark": {"name": "memorization", "metric_version": "1", "hash": "ab"},
    "thresholds": {"forget_probability": 0.1},
    "given_logs": {"before": None, "reference": "ab"},
    "start": {"path": "model", "fingerprint": "ab"},
    "resumed": [{"at": "2026-11-26T06:30:37+00:00", "changed_versions": ["torch 1.0, now 2.0"]}],
}
Changes = Iterator[tuple[str, Any, Any]]


def few(document: Any) -> Any:
    """The document with no more than two metrics, phases and versions: the others are alike."""
    if isinstance(document, list):
        return [few(value) for value in document]
    if not isinstance(document, dict):
        return document
    alike = next((names for names in ALIKE if names[0] in document), document)
    return {key: few(document[key]) for key in alike}


def places(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path to every value in the document, those of objects and lists included."""
    for key, value in document.items() if isinstance(document, dict) else enumerate(document):
        yield (*path, key)
        if isinstance(value, dict | list):
            yield from places(value, (*path, key))


def changes(document: Any) -> Changes:
    """(Dotted key, what stands there instead, the document so changed) for every value and everything else."""
    for path in places(document):
        for other in OTHERS:
            changed = copy.deepcopy(document)
            place = changed
            for key in path[:-1]:
                place = place[key]
            if other is DELETED:
                del place[path[-1]]
            else:
                place[path[-1]] = other
            yield ".".join(map(str, path)), other, changed


def refusals(
    file: Path, tried: Changes, write: Callable[[Any], Any], use: Callable[[], Any]
) -> dict[str, list[Any]]:
    """Key → with what in its place `use` was refused: in a sentence that names the file and the key, and a way out."""
    refused: dict[str, list[Any]] = {}
    for key, other, changed in tried:
        refused.setdefault(key, [])
        write(changed)
        try:
            use()
            continue
        except InputError as error:
            problems = error.problems
        except Exception as error:
            raise AssertionError(f"{file.name}: {key} with {other!r} in its place") from error
        refused[key].append(other)
        named = [part for part in key.split(".") if not part.isdigit()]
        for problem in problems:
            assert problem.where.startswith(str(file)), (key, other, problem)
            assert problem.reason.endswith("."), (key, other, problem)
            assert problem.remedy.endswith("."), (key, other, problem)
        assert any(part in str(problem) for part in named for problem in problems), (key, other, problems)
    return refused


@pytest.fixture(autouse=True)
def _without_flushing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expunge.storage.sync", lambda path: None)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished run with a reference, which is the model before, and few metrics."""
    folder = tmp_path / "run"
    shutil.copytree(FOLDERS / "finished", folder)
    state = few(read_json(folder / "run.json"))
    state["metrics"]["reference"] = state["metrics"]["before"]
    state |= LATER
    state["adapter"]["unreached"] = {
        "kinds": [{"kind": "mlp.experts", "reason": "no linear layer", "parameters": 4, "share": 0.5}],
        "parameters": 4,
        "share": 0.5,
    }
    write_json(folder / "run.json", state)
    shutil.copy(folder / "eval" / "before.json", folder / "eval" / "reference.json")
    write_json_lines(folder / "metrics.jsonl", few(read_json_lines(folder / "metrics.jsonl")))
    return folder


@pytest.fixture
def bare(run: Path) -> Path:
    """No more than run.json, recipe.yaml and the adapter: its report has no pictures, which take their time."""
    for name in ("metrics.jsonl", "steps.jsonl", "importance.safetensors"):
        (run / name).unlink()
    shutil.rmtree(run / "eval")
    return run


@pytest.fixture
def requests(tmp_path: Path) -> Path:
    folder = tmp_path / "requests"
    shutil.copytree(FOLDERS / "requests_finished", folder)
    write_json(folder / "continual.json", few(read_json(folder / "continual.json")))
    return folder


def test_every_value_of_run_json(bare: Path) -> None:
    file = bare / "run.json"
    content = read_json(file)

    def use() -> None:
        report_run(bare)
        write_model_card(bare)
        shutil.rmtree(bare.parent / "exported", ignore_errors=True)
        if RunFolder(bare).done("export"):  # else it is refused as a run that has not got there
            export_run(bare, "adapter", bare.parent / "exported")

    refused = refusals(file, changes(content), lambda changed: file.write_text(json.dumps(changed)), use)
    for key in ("schema", "state", "phases", "model", "data", "data.forget.n", "adapter", "training.best_epoch",
                "metrics.after.retain_probability.n"):  # fmt: skip
        assert [other for other in OTHERS if other not in refused[key]] in ([], [{"a word": 1}]), key
    assert refused["model.fingerprint"] == [other for other in OTHERS if other != "a word"]
    for key in (
        "phases.baseline",
        "training.qualified",
        "adapter.rank",
        "phases.export.seconds",
        "metrics.reference",
    ):
        assert "a word" in refused[key], key


def test_values_of_run_json_that_pictures_are_made_of(run: Path) -> None:
    file = run / "run.json"
    state = read_json(file)
    for key in ("utility_floor", "best_epoch"):
        for other in (1, 1e300):
            changed = {**state, "training": {**state["training"], key: other}}
            tried = [(f"training.{key}", other, changed)]
            refusals(
                file,
                iter(tried),
                lambda changed: file.write_text(json.dumps(changed)),
                lambda: report_run(run),
            )
    for stage, value in (("before", 0), ("before", 1e300), ("reference", -1.5)):
        changed = copy.deepcopy(state)
        for name in ALIKE[0]:
            changed["metrics"][stage][name]["value"] = value
        file.write_text(json.dumps(changed))
        report_run(run)


def test_every_value_of_continual_json(requests: Path) -> None:
    file = requests / "continual.json"
    content = read_json(file)

    def use() -> None:
        report_run(requests)
        write_continual_card(requests)

    refused = refusals(file, changes(content), lambda changed: file.write_text(json.dumps(changed)), use)
    for key in (
        "schema",
        "state",
        "data",
        "data.forget.0",
        "utility",
        "requests.0.training",
        "requests.1.forget_sets",
    ):
        assert refused[key] == list(OTHERS), key
    assert refused["requests.1.forget_sets.2.forget_probability.value"] == [x for x in OTHERS if x != -1.5]
    for key in ("requests.1.forget_sets.1", "utility.after.0"):
        assert "a word" in refused[key], key
        assert DELETED in refused[key], key


def test_every_value_of_a_line_of_metrics(run: Path) -> None:
    file = run / "metrics.jsonl"
    first, *others = read_json_lines(file)
    refused = refusals(
        file,
        changes(first),
        lambda changed: write_json_lines(file, [changed, *others]),
        lambda: utility_against_forgetting(read_run_folder(run)),
    )
    for key in (
        "epoch",
        "step",
        "forget_score",
        "qualifies",
        "reached",
        "metrics",
        "metrics.forget_probability.value",
    ):
        assert "a word" in refused[key], key
        assert DELETED in refused[key], key


def test_every_value_of_a_line_of_steps(run: Path) -> None:
    file = run / "steps.jsonl"
    first, *others = read_json_lines(file)
    refused = refusals(
        file,
        changes(first),
        lambda changed: write_json_lines(file, [changed, *others]),
        lambda: loss_curves(read_run_folder(run)),
    )
    assert refused["step"] == list(OTHERS)
    for key in ("epoch", "forget_loss", "retain_loss", "learning_rate", "grad_norm"):
        assert refused[key] == list(OTHERS[2:-1]), key
    write_json_lines(file, [first, ["a word"]])
    with pytest.raises(InputError, match=r"steps.jsonl, line 2: \['a word'\] should be an object\. Restore"):
        report_run(run)


def test_every_value_of_an_evaluation_log(run: Path) -> None:
    file = run / "eval" / "after.json"
    log = few(read_json(file))
    log["sets"] = {"forget": log["sets"]["forget"][:1]}
    log["sets"]["forget"][0]["perturbed"] = [{"loss": 2.5, "tokens": 3}]

    def use() -> None:
        folder = read_run_folder(run)
        gather_evidence(folder)
        samples(folder, whole=True)

    refused = refusals(file, changes(log), lambda changed: file.write_text(json.dumps(changed)), use)
    for key in ("schema", "sets", "sets.forget", "sets.forget.0.answer", "sets.forget.0.perturbed.0.tokens"):
        assert "a word" in refused[key], key
    log["sets"]["forget"][0]["answer"]["loss"] = 1e300
    file.write_text(json.dumps(log))
    report_run(run)


def test_every_value_of_the_recipe(bare: Path) -> None:
    file = bare / "recipe.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    content = {
        key: content[key] for key in ("name", "model", "method", "adapter", "objective", "training")
    } | {"data": {key: content["data"][key] for key in ("format", "forget", "retain")}}

    def use() -> None:
        request_rows(read_run_folder(bare))

    refused = refusals(file, changes(content), lambda changed: file.write_text(yaml.safe_dump(changed)), use)
    assert "a word" in refused["training.epochs"]
    assert "a word" in refused["model.adapters"]
    file.write_bytes(b"a: \xff")
    with pytest.raises(InputError, match=r"recipe\.yaml: it is not valid YAML"):
        report_run(bare)


def test_importance_and_the_adapters_configuration(run: Path) -> None:
    scores = {"model.layers.0.q_proj": np.ones(4, dtype=np.float32)}
    for odd in (
        {"model.layers.0.q_proj": np.float32([np.nan])},
        {"model.layers.0.q_proj": np.array(1.0)},
        {"": np.ones(2), "model.layers.99999999999999999999.q": np.zeros((2, 2))},
        {"model.layers.0.q_proj": np.float32([-1.0]), "model.layers.1.q_proj": np.float32([1e30])},
    ):
        save_file(odd, run / "importance.safetensors")
        report_run(run)
    save_file(scores, run / "importance.safetensors")
    file = run / "adapter" / "adapter_config.json"
    for content in (b"", b"[]", b'{"r": "two"}', b'{"r": 0}', b'{"r": [1]}', b"\xff"):
        file.write_bytes(content)
        with pytest.raises(InputError) as refused:
            write_model_card(run)
        (problem,) = refused.value.problems
        assert problem.where.startswith(str(file))
    file.write_text('{"r": null}')
    write_model_card(run)


def test_the_command_line_says_it_in_one_line(
    run: Path, requests: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    state = read_json(run / "run.json")
    state["training"]["best_epoch"] = "last"
    write_json(run / "run.json", state)
    several = read_json(requests / "continual.json")
    del several["requests"][1]["forget_sets"]["1"]
    write_json(requests / "continual.json", several)
    way_out = "Restore the file, or run the recipe again with another --output."
    for folder, said in (
        (run, f"{run}/run.json: training.best_epoch: 'last' should be a valid integer. {way_out}"),
        (requests, f"{requests}/continual.json: it lacks forget set 1 after request 2. {way_out}"),
    ):
        for command in (["report", str(folder)],
                        ["export", str(folder), "--to", "adapter", "--output", str(folder / "out")]):  # fmt: skip
            monkeypatch.setattr("sys.argv", ["expunge", *command])
            with pytest.raises(SystemExit) as leave:
                main()
            assert leave.value.code == 2
            assert capsys.readouterr().err.strip() == f"Error: {said}"


RESUMED = {
    "phases": [],
    "phases.export": "done",
    "training": None,
    "metrics.before": [],
    "model.fingerprint": 0,
    "adapter": None,
}


@pytest.mark.parametrize("key", RESUMED)
def test_a_run_is_not_gone_on_with(run: Path, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What follows its training is to be done anew."""
    monkeypatch.chdir(CHECKOUT)
    state = read_json(run / "run.json")
    state["phases"] |= dict.fromkeys(("importance", "adapter", "training"), state["phases"]["baseline"])
    for phase in ("evaluation", "export", "report"):
        state["phases"].pop(phase, None)
    *sections, last = key.split(".")
    place = state
    for section in sections:
        place = place[section]
    place[last] = RESUMED[key]
    write_json(run / "run.json", state)
    left = (run / "run.json").read_bytes()
    with pytest.raises(InputError) as refused:
        expunge.unlearn(run / "recipe.yaml", output=run, resume=True)
    assert refused.value.problems[0].where.startswith(str(run / "run.json"))
    if key != "training":  # which is missed when the run is under way, and then said in the state
        assert (run / "run.json").read_bytes() == left
