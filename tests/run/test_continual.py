"""Two requests in one recipe: each from the model that the last one left, all forget sets measured after each."""

from __future__ import annotations

import json
import random
import re
import shutil
import stat
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

import expunge
from expunge.adapters.loading import load_model
from expunge.cli import main
from expunge.data.encoding import collate
from expunge.errors import InputError
from expunge.evidence import merkle_root, verify_statement
from expunge.evidence.keys import make_key
from expunge.folder.continual_state import ContinualState
from expunge.folder.requests import ContinualFolder
from expunge.folder.run import RunFolder
from expunge.models.settings import Model
from expunge.recipe import load_recipe
from expunge.report.continual import forget_tables, overall
from expunge.report.quantities import number
from expunge.run import continual
from expunge.run.attest import attest
from expunge.run.inputs import Inputs
from expunge.run.single import run_recipe
from expunge.run.stated import forget_samples
from expunge.storage import read_json, read_json_lines, write_record
from small_recipe import small_recipe

IDS = torch.arange(1, 30)[None]


@pytest.fixture(scope="module")
def several(model_folder: Path, data_folder: Path) -> dict[str, Any]:
    rows = [
        {"question": f"Who is number {n}?", "answer": f"HIDDEN{n} of the hills in the north."}
        for n in range(40, 46)
    ]
    (data_folder / "second.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = small_recipe(model_folder, data_folder)
    recipe["data"]["forget"] = [str(data_folder / name) for name in ("forget.jsonl", "second.jsonl")]
    return {**recipe, "name": "several", "export": ["adapter", "merged"]}


@pytest.fixture(scope="module")
def finished(several: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> expunge.Run:
    return expunge.unlearn(several, output=tmp_path_factory.mktemp("runs") / "run")


def logits(model: Any) -> torch.Tensor:
    """In float64, so that what is left are the differences of the weights."""
    with torch.no_grad():
        return model.double()(input_ids=IDS).logits


def stacked(model_folder: Path, finished: expunge.Run, count: int) -> Any:
    adapters = [str(finished.path / "requests" / str(number) / "adapter") for number in range(1, count + 1)]
    return load_model(Model(path=str(model_folder), adapters=adapters))


def test_the_second_request_starts_where_the_first_one_ended(
    finished: expunge.Run, model_folder: Path
) -> None:
    first, second = finished.requests
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    original = logits(base)
    after_first = logits(PeftModel.from_pretrained(base, str(first.adapter)))
    start = logits(stacked(model_folder, finished, 1))
    # The weights are sums in fp32, so the bound is one of logits that are at most 1.
    size = original.abs().max()
    torch.testing.assert_close(start / size, after_first / size, rtol=0, atol=1e-6)
    assert (start - original).abs().max() > 1e-3
    # What the retain set loses is told from the held-out samples, which are the same for both.
    for name, before in second.metrics["before"].items():
        if name == "retain_kept":  # of what this request found
            assert before["value"] == second.metrics["before"]["retain_probability"]["value"]
        elif name.startswith("retain_"):
            assert before["value"] == pytest.approx(first.metrics["after"][name]["value"], rel=1e-6)
    assert first.state["model"]["fingerprint"] != second.state["model"]["fingerprint"]
    origin = read_json(second.adapter / "base_fingerprint.json")
    assert origin["fingerprint"] == second.state["model"]["fingerprint"]
    assert origin["original"] == first.state["model"]["fingerprint"]


def test_importance_is_that_of_the_new_forget_set_on_the_model_before_the_request(
    finished: expunge.Run, model_folder: Path
) -> None:
    folder = finished.requests[1].path
    inputs = Inputs(load_recipe(folder / "recipe.yaml"))
    kept = random.Random(inputs.recipe.seed).sample(inputs.retain, len(inputs.forget))
    batches = [
        [collate(sorted(examples, key=len), inputs.encoder.pad_token_id)]
        for examples in (inputs.forget, kept)
    ]
    expected, of_the_original = (
        expunge.measure_importance(stacked(model_folder, finished, count), *batches, estimator="factored")
        for count in (1, 0)
    )
    found = load_file(folder / "importance.safetensors")
    assert found.keys() == expected.keys()
    for name, rows in found.items():
        torch.testing.assert_close(rows, expected[name], rtol=1e-4, atol=0)
        assert not torch.allclose(rows, of_the_original[name], rtol=1e-3)


def test_one_adapter_for_the_untouched_original_holds_both(finished: expunge.Run, model_folder: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    wanted = logits(stacked(model_folder, finished, 2))
    merged = AutoModelForCausalLM.from_pretrained(finished.path / "merged")
    torch.testing.assert_close(
        logits(PeftModel.from_pretrained(base, str(finished.adapter))), wanted, rtol=0, atol=1e-5
    )
    torch.testing.assert_close(logits(merged), wanted, rtol=0, atol=1e-5)
    # Rank 2 with its anchor is 4, twice.
    assert finished.state["adapter"]["rank"] == read_json(finished.adapter / "adapter_config.json")["r"] == 8
    assert (
        finished.state["adapter"]["bytes"] == (finished.adapter / "adapter_model.safetensors").stat().st_size
    )


def test_both_are_attested_as_one(finished: expunge.Run, tmp_path: Path) -> None:
    """The commitment is to both forget sets in their order; each one's figures are those after the last request."""
    key = make_key(tmp_path / "operator")
    folder = shutil.copytree(finished.path, tmp_path / "run")
    first = read_json(folder / "requests" / "1" / "run.json")
    share = {"n": 6, "original": 0.9, "after": 0.4, "attacked": 0.5, "share": 0.25, "low": 0.1, "high": 0.4}
    sample = {
        "title": "Asks again",
        "counts": True,
        "variants": {"one": {"lead": "rouge", "recoveries": {"rouge": share}}},
    }
    first["attacks"] = {
        "budget": "cheap",
        "ground": "reference",
        "items": 6,
        "of": 6,
        "outcomes": {"sample": sample},
    }
    write_record(folder / "requests" / "1" / "run.json", first)
    output = attest(folder, key.with_suffix(""), request="B-7")
    assert output == folder / "attestation"
    for form in ("adapter", "merged"):
        verified = verify_statement(output / "attestation.json", key, folder / form)
        assert [check.holds for check in verified.checks] == [True] * 4
    assert verified.predicate is not None
    stated = verified.predicate.model_dump(mode="json")
    runs = finished.requests
    samples = [sample for run in runs for sample in forget_samples(RunFolder(run.path))]
    root = merkle_root(samples, (output / "salt").read_text().strip())
    assert stated["forget_set"] == {"samples": 12, "merkle_root": root}
    assert stated["base"]["fingerprint"] == runs[0].state["model"]["fingerprint"]
    assert stated["request"]["id"] == "B-7"
    assert stated["request"]["done"] == finished.state["finished"]
    assert stated["verdict"]["forgetting"] == finished.state["verdict"]["forgetting"]
    for place, run in enumerate(runs, start=1):
        figures = stated["forget_sets"][str(place)]
        left = finished.state["requests"][1]["forget_sets"][str(place)]
        assert "forget_probability" in figures
        assert not [name for name in figures if name.startswith("retain")]
        for name, figure in figures.items():
            assert figure["before"]["value"] == run.metrics["before"][name]["value"]
            assert figure["after"]["value"] == left[name]["value"]
    kept = stated["figures"]["retain_probability"]
    assert kept["before"]["value"] == runs[0].metrics["before"]["retain_probability"]["value"]
    assert kept["after"]["value"] == runs[1].metrics["after"]["retain_probability"]["value"]
    assert not [name for name in stated["figures"] if name.startswith("forget")]
    by = {attack["category"]: attack["by"] for attack in stated["attacks"]}["regurgitation"]
    came_back = {"value": 0.25, "n": 6, "low": 0.1, "high": 0.4}
    assert by == [{"name": "request 1: sample", "came_back": came_back}]
    assert f"1: {figures['forget_probability']['label']}" in (output / "certificate.html").read_text()


@pytest.mark.parametrize(
    ("forgetting", "outcome"),
    [
        (["forgotten", "forgotten"], "passed"),
        (["forgotten", "partly"], "warned"),
        (["partly", "not forgotten"], "failed"),
    ],
)
def test_all_forget_sets_have_to_be_forgotten_for_the_test_result(
    finished: expunge.Run, tmp_path: Path, forgetting: list[str], outcome: str
) -> None:
    folder = shutil.copytree(finished.path, tmp_path / "run")
    state = finished.state
    write_record(
        folder / "continual.json", {**state, "verdict": {**state["verdict"], "forgetting": forgetting}}
    )
    key = make_key(tmp_path / "operator")
    result = verify_statement(attest(folder, key.with_suffix("")) / "test-result.json", key).predicate
    assert result is not None
    assert "the forget set is forgotten" in result.model_dump()[f"{outcome}Tests"]


@pytest.mark.parametrize(
    ("left", "kept", "name"), [(0.90, True, "teacher"), (0.84, False, "Model utility after")]
)
def test_the_utility_is_kept_only_where_the_best_measure_of_it_says_so_too(
    finished: expunge.Run, tmp_path: Path, left: float, kept: bool, name: str
) -> None:
    """The rule looked at one without answers, of which 96 % are left; with them 0.9, or 0.84 of 0.9 are."""
    folder = shutil.copytree(finished.path, tmp_path / "run")
    state = finished.state
    figures = {"before": (0.5, 0.9), "after": (0.48, left)}
    for request in state["requests"]:
        request["training"]["utility_metric"] = "model_utility_teacher_forced"
        for stage, (ruled, best) in figures.items():
            for metric, value in (("model_utility_teacher_forced", ruled), ("model_utility", best)):
                request["metrics"][stage][metric] = {"value": value, "n": 100, "low": None, "high": None}
    state["utility"] = {"original": 0.5, "after": [0.48, 0.48]}
    write_record(folder / "continual.json", state)
    verdict = overall(ContinualFolder(folder))
    assert verdict.utility_kept is kept
    share = 0.96 if kept else left / 0.9
    assert f"{share:.1%} of the utility left".replace("%", " %") in verdict.headline
    assert name in verdict.findings[0].text


def test_the_run_of_both_gives_its_model_its_figures_and_its_verdict(
    finished: expunge.Run, model_folder: Path
) -> None:
    first, second = finished.requests
    torch.testing.assert_close(
        logits(finished.model()), logits(stacked(model_folder, finished, 2)), rtol=0, atol=1e-5
    )
    torch.testing.assert_close(logits(second.model()), logits(finished.model()), rtol=0, atol=1e-5)
    assert finished.score == second.score
    assert finished.utility == second.metrics["after"]["retain_probability"]["value"]
    original = first.metrics["before"]["retain_probability"]["value"]
    assert finished.original_utility == first.original_utility == second.original_utility == original
    assert finished.verdict.headline in finished.report.read_text()
    assert finished.verdict.headline.startswith("After 2 requests of 2: ")
    for path in (finished.report, finished.card, finished.adapter, finished.merged, finished.importance,
                 finished.evaluation("request-1")):  # fmt: skip
        assert path.exists()


def test_one_file_of_alternates_serves_every_request(several: dict[str, Any], tmp_path: Path) -> None:
    questions = [
        json.loads(line) for file in several["data"]["forget"] for line in Path(file).read_text().splitlines()
    ]
    alternates = tmp_path / "alternates.jsonl"
    alternates.write_text("".join(json.dumps({**row, "answer": "Nobody."}) + "\n" for row in questions[::-1]))
    quick = ["adapter.initialization=default", "training.epochs=1", "evaluation.generate=never"]
    changes = ["objective.forget=altpo", f"objective.substitutes={alternates}", *quick]
    run = expunge.unlearn(several, changes, output=tmp_path / "run")
    assert [request.state["state"] for request in run.requests] == ["done", "done"]


def test_the_first_forget_set_is_measured_again_after_the_second_request(
    finished: expunge.Run, model_folder: Path
) -> None:
    """Against the first request's own benchmark, whole, on the model with the combined adapter."""
    first, second = finished.requests
    inputs = Inputs(load_recipe(first.path / "recipe.yaml"))
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    model = PeftModel.from_pretrained(base, str(finished.adapter))
    log = inputs.benchmark.evaluate(model, inputs.encoder)
    expected = inputs.benchmark.metrics(log, None)
    file = second.path / "eval" / "request-1.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    found = read_json(file)
    assert found["data"] == inputs.benchmark.data
    assert found["generated"]
    assert {name: len(records) for name, records in found["sets"].items()} == {"forget": 6, "retain": 4}
    assert found["metrics"] == finished.state["requests"][1]["forget_sets"]["1"]
    for name, metric in expected.items():
        assert found["metrics"][name]["value"] == pytest.approx(metric.value, rel=1e-4), name
    assert (
        found["metrics"]["forget_probability"] != first.metrics["after"]["forget_probability"]
    )  # the second request changed the model


def test_continual_json_tells_what_came_of_all(finished: expunge.Run) -> None:
    state = finished.state
    first, second = finished.requests
    assert state["state"] == "done"
    assert [len(request["forget_sets"]) for request in state["requests"]] == [1, 2]
    assert state["requests"][0]["forget_sets"]["1"] == first.metrics["after"]
    assert state["requests"][1]["forget_sets"]["2"] == second.metrics["after"]
    assert [request["adapter"] for request in state["requests"]] == [
        "requests/1/adapter",
        "requests/2/adapter",
    ]
    assert [each["n"] for each in state["data"]["forget"]] == [6, 6]
    assert state["utility"] == {
        "original": first.metrics["before"]["retain_probability"]["value"],
        "after": [run.metrics["after"]["retain_probability"]["value"] for run in (first, second)],
    }
    assert (
        finished.metrics["before"]["2/forget_probability"] == second.metrics["before"]["forget_probability"]
    )
    assert (
        finished.metrics["after"]["1/forget_probability"]
        == state["requests"][1]["forget_sets"]["1"]["forget_probability"]
    )


def test_the_report_has_every_figure_and_no_forgotten_text(finished: expunge.Run) -> None:
    page = finished.report.read_text()
    state = finished.state
    table = page.split("<h3>Forget set: probability of the answer</h3>")[1].split("</table>")[0]
    rows = [
        [float(value) for value in re.findall(r'<data value="([^"]+)">', row)]
        for row in table.split("<tr data-metric")[1:]
    ]
    assert rows == [
        [
            state["requests"][0]["metrics"]["before"]["forget_probability"]["value"],
            *(request["forget_sets"]["1"]["forget_probability"]["value"] for request in state["requests"]),
        ],
        [
            state["requests"][1]["metrics"]["before"]["forget_probability"]["value"],
            state["requests"][1]["forget_sets"]["2"]["forget_probability"]["value"],
        ],
    ]
    assert 'href="requests/2/report.html"' in page
    assert "SECRET" not in page
    assert "HIDDEN" not in page
    shares = [value / state["utility"]["original"] for value in state["utility"]["after"]]
    shown = ", ".join(f"{100 * share:.1f} %" for share in shares)
    said = f"of the original model&#39;s: {shown}. The rule asks for at least 95 %. N = 4."
    assert said.replace(" %", "\u00a0%") in page
    assert "<dt>Exact memorisation</dt>" in page
    assert "Reference" not in page
    assert "The reference" not in page


def test_the_reports_tables_have_a_reference_where_a_request_has(finished: expunge.Run) -> None:
    state = finished.state
    reference = {**state["requests"][0]["metrics"], "reference": state["requests"][0]["metrics"]["after"]}
    state["requests"][0]["metrics"] = reference
    table = forget_tables(ContinualState.model_validate(state))[0]
    assert table.columns == ["Original", "After 1", "After 2", "Reference"]
    probability = reference["reference"]["forget_probability"]["value"]
    assert [row.cells[-1].value for row in table.rows] == [probability, None]
    assert table.better == "as the reference"


def test_the_card_is_of_the_one_adapter_for_the_untouched_base(
    finished: expunge.Run, model_folder: Path, data_folder: Path
) -> None:
    card = (finished.path / "README.md").read_text()
    last = finished.state["requests"][1]["forget_sets"]["1"]["forget_probability"]["value"]
    row = next(line for line in card.splitlines() if line.startswith("| Forget set 1 | 6 | "))
    assert row.split("|")[5].split()[0] == number(last)
    assert finished.requests[0].state["model"]["fingerprint"] in card
    assert finished.requests[1].state["model"]["fingerprint"] not in card
    hashes = [each["hash"][:12] for each in finished.state["data"]["forget"]]
    for name, digest in zip(("forget", "second"), hashes, strict=True):
        assert f"6 examples from {data_folder / name}.jsonl |" in card
        assert digest not in card
    assert f'base = AutoModelForCausalLM.from_pretrained("{model_folder}")\nmodel = PeftModel' in card
    assert "(the adapter has rank 8)" in card
    assert "`merged/` holds" in card
    assert "Reference" not in card
    assert "SECRET" not in card
    assert "HIDDEN" not in card


def test_the_card_of_a_later_request_names_the_adapters_beneath(finished: expunge.Run) -> None:
    first, second = ((run.path / "README.md").read_text() for run in finished.requests)
    beneath = str(finished.requests[0].adapter)
    assert "merge_and_unload" not in first
    assert f'base = PeftModel.from_pretrained(base, "{beneath}").merge_and_unload()' in second


def test_export_hands_over_what_all_requests_left(
    finished: expunge.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for form, file in (("adapter", "adapter_model.safetensors"), ("merged", "model.safetensors")):
        command = ["expunge", "export", str(finished.path), "--to", form, "--output", str(tmp_path / form)]
        monkeypatch.setattr("sys.argv", command)
        main()
        assert (tmp_path / form / file).read_bytes() == (finished.path / form / file).read_bytes()


def test_after_a_kill_between_requests_only_the_second_is_run(
    finished: expunge.Run,
    several: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The folder has been moved as well, and the utility rule is that of the original."""
    folder = tmp_path / "moved"
    shutil.copytree(finished.path, folder)
    for name in ("requests/2", "adapter", "merged"):
        shutil.rmtree(folder / name)
    state = read_json(folder / "continual.json")
    write_record(
        folder / "continual.json",
        {**state, "state": "running", "adapter": None, "requests": state["requests"][:1]},
    )
    given = []

    def recording(recipe: Any, resume: bool, original_utility: float | None, callbacks: Any) -> Any:
        given.append((Path(recipe.output_folder).name, original_utility))
        return run_recipe(recipe, resume, original_utility, callbacks)

    monkeypatch.setattr(continual, "run_recipe", recording)
    with pytest.raises(InputError, match="--resume"):
        expunge.unlearn(several, output=folder)
    run = expunge.unlearn(several, output=folder, resume=True)
    assert given == [("2", state["utility"]["original"])]
    assert "forget.jsonl: done before" in capsys.readouterr().err
    for file in ("requests/2/adapter", "adapter"):
        ours, theirs = (path / file / "adapter_model.safetensors" for path in (run.path, finished.path))
        assert ours.read_bytes() == theirs.read_bytes()
    assert run.state["requests"][1]["forget_sets"] == finished.state["requests"][1]["forget_sets"]
    with pytest.raises(InputError, match="the recipe has changed in: seed"):
        expunge.unlearn(several, ["seed=1"], output=folder, resume=True)
    again = expunge.unlearn(several, output=folder, resume=True)
    assert len(given) == 1  # nothing was left to do
    assert again.state["state"] == "done"


def test_other_data_are_not_gone_on_with(
    finished: expunge.Run, several: dict[str, Any], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("recipe.yaml", "continual.json"):
        shutil.copy(finished.path / name, folder / name)
    state = read_json(folder / "continual.json")
    state["data"]["forget"][1]["hash"] = "another"
    write_record(folder / "continual.json", state)
    state["inputs"][0]["model"]["tokenizer"] = "another"
    state["inputs"][1]["data"]["encoded"]["retain"] = "another"
    write_record(folder / "continual.json", state)
    with pytest.raises(InputError) as refused:
        expunge.unlearn(several, output=folder, resume=True)
    assert [problem.reason for problem in refused.value.problems] == [
        "the input has changed in: data.forget.",
        "the input of request 1 has changed in: model.tokenizer.",
        "the input of request 2 has changed in: data.encoded.retain.",
    ]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("continual.json", '{"schema": "expunge.co', "it cannot be read: "),
        ("continual.json", "[]", "it is not the state of several requests (expunge.continual/1)."),
        ("continual.json", '{"schema": "expunge.continual/2"}', "it is not the state of several requests"),
        ("continual.json", '{"schema": "expunge.continual/1", "state": "done"}', "it lacks finished, data, "),
        ("recipe.yaml", None, "it is missing."),
        ("recipe.yaml", "data: [forget", "it is not valid YAML: "),
        (
            "recipe.yaml",
            "model: {path: m}\ndata: {forget: one.jsonl}",
            "its data.forget is no list of requests.",
        ),
    ],
)
def test_a_broken_file_is_named_and_left_as_it_is(
    finished: expunge.Run, several: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], name: str, content: str | None, sentence: str,
) -> None:  # fmt: skip
    folder = tmp_path / "run"
    shutil.copytree(finished.path, folder)
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content, encoding="utf-8")
    left = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    with pytest.raises(InputError) as refused:
        expunge.unlearn(several, output=folder, resume=True)
    (problem,) = refused.value.problems
    assert problem.where == str(folder / name)
    assert problem.reason.startswith(sentence)
    export = ["export", str(folder), "--to", "adapter", "--output", str(tmp_path / "adapter")]
    monkeypatch.setattr("sys.argv", ["expunge", *export])
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == 2
    assert f"Error: {problem}\n" == capsys.readouterr().err.splitlines(keepends=True)[-1]
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == left


def test_the_utility_rule_takes_its_share_of_what_it_is_given(recipe: dict[str, Any]) -> None:
    """A model that is already far below the original has no epoch that keeps enough."""
    recipe["adapter"]["initialization"] = "default"
    recipe["evaluation"]["generate"] = "never"
    run = run_recipe(load_recipe(recipe), resume=False, original_utility=10.0)
    assert not run.state["training"]["qualified"]
    assert "of the original's at epoch 1" in run.state["training"]["stopped"]
    assert [row["qualifies"] for row in read_json_lines(run.path / "metrics.jsonl")] == [False]


def test_adapters_in_a_wrong_order_are_refused_by_a_run(
    finished: expunge.Run, recipe: dict[str, Any], model_folder: Path
) -> None:
    first, second = (str(run.adapter) for run in finished.requests)
    recipe["model"]["adapters"] = [second, first]
    with pytest.raises(InputError) as refused:
        expunge.unlearn(recipe)
    original = finished.requests[0].state["model"]["fingerprint"]
    (problem,) = refused.value.problems
    assert problem.where == f"model.adapters: {first}"
    assert f"trained on a model with fingerprint {original}, but the model before it has" in problem.reason
    assert not Path(recipe["output"]).exists()


def test_validate_shows_the_plan_of_each_request(
    several: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps(several))
    monkeypatch.setattr("sys.argv", ["expunge", "validate", str(file), "--json"])
    main()
    found = json.loads(capsys.readouterr().out)
    assert [each["steps"] for each in found["requests"]] == [4, 4]
    assert found["steps"] == 8
    assert found["forget_samples"] == 12
    assert [line for line in found["lines"] if not line.startswith(" ")] == [
        f"request {number}: forget {name}" for number, name in enumerate(several["data"]["forget"], start=1)
    ]


class TestBadLists:
    def sentences(self, several: dict[str, Any], tmp_path: Path, *overrides: str) -> str:
        with pytest.raises(InputError) as refused:
            expunge.unlearn(several, overrides, output=tmp_path / "run")
        assert not (tmp_path / "run").exists()
        return str(refused.value)

    def test_forget_sets_that_overlap(self, several: dict[str, Any], tmp_path: Path) -> None:
        first, second = (Path(file) for file in several["data"]["forget"])
        both = tmp_path / "both.jsonl"
        both.write_text(second.read_text() + first.read_text())
        said = self.sentences(several, tmp_path, f"data.forget=[{first}, {both}]")
        assert f"6 samples of '{both}' are in '{first}' as well, first row 7." in said

    def test_a_forget_set_that_is_to_stay(self, several: dict[str, Any], tmp_path: Path) -> None:
        """Of any request, not of the first alone."""
        first, second = several["data"]["forget"]
        retain = tmp_path / "retain.jsonl"
        retain.write_text(Path(several["data"]["retain"]).read_text() + Path(second).read_text())
        said = self.sentences(several, tmp_path, f"data.retain={retain}")
        assert f"6 of the forget samples are in the retain set as well, first row 1 of '{second}'" in said
        assert first not in said

    def test_every_missing_file_is_named(self, several: dict[str, Any], tmp_path: Path) -> None:
        said = self.sentences(several, tmp_path, "data.forget=[absent.jsonl, none.jsonl]")
        assert "there is no file 'absent.jsonl'" in said
        assert "there is no file 'none.jsonl'" in said

    def test_a_method_without_an_adapter(
        self, several: dict[str, Any], tmp_path: Path, model_folder: Path
    ) -> None:
        recipe = {key: value for key, value in several.items() if key not in ("adapter", "export")}
        recipe["method"] = {"name": "uld", "layers": 1}
        assert "'uld' hands over no adapter" in self.sentences(recipe, tmp_path)


def test_eval_measures_the_model_that_a_request_left(
    finished: expunge.Run,
    model_folder: Path,
    data_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As LoKU's figure 6 asks: any benchmark after each request, by the adapters up to it."""
    stack = [
        word for number in (1, 2) for word in ("--adapter", f"{finished.path}/requests/{number}/adapter")
    ]
    arguments = ["--benchmark", "memorization", "--forget", str(data_folder / "second.jsonl"), "--json"]
    monkeypatch.setattr("sys.argv", ["expunge", "eval", str(model_folder), *stack, *arguments])
    main()
    found = json.loads(capsys.readouterr().out)
    after = read_json(finished.path / "requests" / "2" / "run.json")["metrics"]["after"]
    assert found["metrics"]["forget_probability"]["value"] == pytest.approx(
        after["forget_probability"]["value"], rel=1e-4
    )
