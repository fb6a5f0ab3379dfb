"""A package of its own adds a loss, an estimator, metrics, an attack and a benchmark with its data, and a run uses all.

`package/` is what its author would write. It is made available as an installer would, beside a package that is broken.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from expunge.attacks.registry import attacks
from expunge.benchmarks.registry import benchmarks
from expunge.cli import main
from expunge.evaluation.measures import measures
from expunge.importance import estimators
from expunge.importance.estimator import Layer
from expunge.objectives import forget_losses, retain_losses
from expunge.storage import read_json, read_json_lines
from installed_packages import install

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

#: The hyper-parameter of the package's loss.
PHI = 1e-6
PACKAGE = Path(__file__).parent / "package"
BROKEN = {
    "expunge.losses": {
        "absent": "no_such_module:loss",
        "untyped": "json:dumps",
        "ihl": "recall.loss:hinge_above_a_floor",
    },
    "expunge.benchmarks": {"absent": "no_such_module:BENCHMARK"},
    "expunge.attacks": {"vanished": "no_such_module:Attack"},
}  # fmt: skip

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package as it would be installed, and the broken one."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "recall").symlink_to(PACKAGE / "recall")
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    install(folder, project["name"], project["entry-points"])
    install(folder, "expunge-broken", BROKEN)
    return folder


@pytest.fixture(scope="module")
def expunge(site: Path) -> Command:
    """The command line where they are installed."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "expunge", *map(str, arguments)],
            capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": path},
        )  # fmt: skip

    return call


@pytest.fixture
def refused(
    site: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """What the command line says to arguments that it refuses. In this process, which is faster."""
    monkeypatch.syspath_prepend(str(site))
    for registry in (forget_losses, retain_losses, estimators, benchmarks, attacks, measures):
        # As they are at the start: what is read in between goes when the fixture's own settings are undone.
        monkeypatch.setitem(vars(registry), "_things", dict(measures._things) if registry is measures else {})
        monkeypatch.setitem(vars(registry), "_plugins", {})
        del vars(registry)["_plugins"]

    def call(*arguments: object) -> str:
        monkeypatch.setattr("sys.argv", ["expunge", *map(str, arguments)])
        with pytest.raises(SystemExit) as leave:
            main()
        printed = capsys.readouterr()
        assert (leave.value.code, printed.out) == (2, "")
        return printed.err

    return call


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lines")
    for name, numbers in (("forget", range(6)), ("keep", range(6, 18))):
        rows = [f"Who is number {n}?\t{'Nobody' if n % 2 else 'A person of the town'}." for n in numbers]
        (folder / f"{name}.tsv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def recipe(model_folder: Path, lines: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("recipe") / "recipe.yaml"
    content = {
        "model": {"path": str(model_folder)},
        "data": {"format": "recall", "path": str(lines)},
        "adapter": {"initialization": "squared_mean", "rank": 2, "alpha": 4},
        "objective": {"forget": "floor", "phi": PHI, "retain_weight": 0.0},
        "stopping": {"thresholds": {"forget_surprise": 1e6}},
        "training": {"epochs": 2, "batch_size": 6, "micro_batch_size": 3, "learning_rate": 1e-2, "warmup": 0},
        "output": str(file.parent / "run"),
    }
    file.write_text(json.dumps(content))  # which is YAML as well
    return file


@pytest.fixture(scope="module")
def run(expunge: Command, recipe: Path) -> Path:
    ran = expunge("run", recipe)
    assert ran.returncode == 0, ran.stderr
    return recipe.parent / "run"


def test_a_run_uses_them_all(run: Path, lines: Path) -> None:
    state = read_json(run / "run.json")
    assert state["state"] == "done"
    assert state["data"]["format"] == "recall"
    assert "capitals" in state["attacks"]["outcomes"]["shout"]["variants"]
    assert [state["data"][side]["n"] for side in ("forget", "retain")] == [6, 12]
    assert (state["adapter"]["initialization"], "importance" in state["phases"]) == ("squared_mean", True)
    before, after = (read_json(run / "eval" / f"{name}.json") for name in ("before", "after"))
    assert before["benchmark"] == "recall"
    assert {name: len(records) for name, records in before["sets"].items()} == {
        "forget": 6,
        "retain": 2,
    }  # 12 // 5
    chosen = read_json_lines(run / "metrics.jsonl")[state["training"]["best_epoch"] - 1]
    answers = [record["answer"] for record in after["sets"]["forget"]]
    recalled = [math.exp(-answer["loss"] / answer["tokens"]) for answer in answers]
    assert chosen["forget_score"] == pytest.approx(1 - sum(recalled) / 6)
    page = (run / "report.html").read_text()
    assert "Forget set: recall of the answer" in page
    assert "Forget set: surprise a token (bits)" in page
    assert "How many bits a token of the answer costs the model" in page


def test_the_metric_is_measured_of_every_set(run: Path) -> None:
    for stage in ("before", "after"):
        log, metrics = (
            read_json(run / "eval" / f"{stage}.json"),
            read_json(run / "run.json")["metrics"][stage],
        )
        for name, records in log["sets"].items():
            answers = [record["answer"] for record in records]
            bits = [answer["loss"] / answer["tokens"] / math.log(2) for answer in answers]
            assert metrics[f"{name}_surprise"]["value"] == pytest.approx(sum(bits) / len(bits))


def test_a_threshold_stands_on_the_metric_where_it_tells_of_forgetting(
    refused: Callable[..., str], recipe: Path, run: Path
) -> None:
    """It rises as the set is forgotten, so a million bits are not reached; of a kept set it tells nothing."""
    assert [row["reached"] for row in read_json_lines(run / "metrics.jsonl")] == [False, False]
    said = refused("validate", recipe, "stopping.thresholds={retain_surprise: 1}")
    assert "stopping.thresholds: " in said
    assert "retain_surprise" in said


def test_the_recipe_of_the_run_holds_all_keys_of_its_data(run: Path, lines: Path) -> None:
    from yaml import safe_load

    kept = safe_load((run / "recipe.yaml").read_text())
    assert kept["data"]["format"] == "recall"
    assert (kept["data"]["path"], kept["data"]["forget"], kept["data"]["retain"]) == (
        str(lines), "forget.tsv", "keep.tsv",
    )  # fmt: skip
    assert kept["objective"]["phi"] == PHI


def test_the_loss_is_the_package_s(run: Path) -> None:
    """The first step is of the whole forget set and of the untouched model, no token of which is under the floor."""
    first, second = read_json_lines(run / "steps.jsonl")
    answers = [record["answer"] for record in read_json(run / "eval" / "before.json")["sets"]["forget"]]
    mean = -sum(answer["loss"] for answer in answers) / sum(answer["tokens"] for answer in answers)
    assert first["forget_loss"] == pytest.approx(mean - math.log(PHI), rel=1e-5)
    assert second["forget_loss"] < first["forget_loss"]


def test_the_estimator_against_a_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(PACKAGE))
    from recall.estimator import SquaredMean

    x, delta = torch.randn(5, 3, 4), torch.randn(5, 3, 2)
    estimator = SquaredMean(Layer("layer", 2, 4), torch.device("cpu"))
    mean = torch.stack([delta[n].T @ x[n] for n in range(5)]).mean(0)
    found = estimator.rows(estimator.sums(x, delta), 5, slice(0, 2))
    torch.testing.assert_close(found, mean.square())


def test_importance_was_measured_by_it(run: Path) -> None:
    with safe_open(run / "importance.safetensors", "pt") as file:
        rows = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert rows
    assert all(torch.isfinite(row).all() and (row >= 0).all() and row.any() for row in rows.values())


def test_eval_takes_the_benchmark_s_own_option(
    expunge: Command, run: Path, model_folder: Path, lines: Path, tmp_path: Path
) -> None:
    log = tmp_path / "log.json"
    records = read_json(run / "eval" / "after.json")["sets"]["forget"]
    lengths = [record["answer"]["tokens"] for record in records]
    shortest = min(lengths) + 1
    ran = expunge(
        "eval", model_folder, "--benchmark", "recall", "--shortest-answer", shortest, "--data", lines, "--adapter",
        run / "adapter", "--output", log, "--json",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)["metrics"]
    assert {name: metric["n"] for name, metric in found.items()} == {
        f"{side}_{name}": n for side, n in (("forget", 3), ("retain", 6)) for name in ("recall", "surprise")
    }
    measured = read_json(log)["sets"]["forget"]
    longer = [record for record in records if record["answer"]["tokens"] >= shortest]
    losses = [[record["answer"]["loss"] for record in part] for part in (measured, longer)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    assert len(lengths) == 2 * len(measured)


def test_wrong_options_are_refused(refused: Callable[..., str], model_folder: Path) -> None:
    given = ["--shortest-anser", "4", "--shortest-answer=0", "--truth-ratio", "geometric"]
    said = refused("eval", model_folder, "--benchmark", "recall", *given)
    assert "--shortest-anser: recall has no such option. Did you mean '--shortest-answer'?" in said
    assert (
        "--shortest-answer: the value '0' does not fit: input should be greater than or equal to 1." in said
    )
    assert "--truth-ratio: it is for tofu, not for recall. Leave it out." in said
    said = refused("eval", model_folder, "--benchmark", "recall")
    assert said == "Error: --data: there is nothing to recall. Name a folder.\n"


def test_methods_lists_what_can_be_loaded_and_names_what_cannot(expunge: Command) -> None:
    ran = expunge("methods", "--json")
    assert ran.returncode == 0, ran.stderr
    found = {kind: [entry["name"] for entry in entries] for kind, entries in json.loads(ran.stdout).items()}
    assert found["forget losses (objective.forget)"][-2:] == ["rmu", "floor"]
    assert found["importance estimators (adapter.initialization)"][-1] == "squared_mean"
    said = " ".join(ran.stderr.split())
    assert (
        "package expunge-broken, entry point 'absent' of expunge.losses: 'no_such_module:loss' cannot be"
        in said
    )
    assert "'json:dumps' is of type function, not a forget loss" in said
    assert "the forget loss 'ihl' is there 2 times, from expunge and expunge-broken" in said


@pytest.mark.parametrize(
    ("overrides", "sentences"),
    [
        (
            ["objective.forget=flor", "adapter.initialization=squared_men", "evaluation.benchmark=recal", "data.pth=x"],
            [
                "objective.forget: there is no forget loss 'flor'. Did you mean 'floor'?",
                "adapter.initialization: there is no initialisation 'squared_men'. Did you mean 'squared_mean'?",
                "evaluation.benchmark: there is no benchmark 'recal'. Did you mean 'recall'?",
                "data.pth: there is no such key. Did you mean 'path'?",
            ],
        ),
        (
            ["data.path=absent", "evaluation.benchmark=tofu"],
            [
                "data.forget: there is no file 'absent/forget.tsv'.",
                "evaluation.benchmark: tofu needs TOFU's files.",
            ],
        ),
        (
            ["evaluation.benchmark=absent"],
            ["package expunge-broken, entry point 'absent' of expunge.benchmarks: 'no_such_module:BENCHMARK' cannot"],
        ),
        (["objective.forget=ihl"], ["the forget loss 'ihl' is there 2 times, from expunge and expunge-broken."]),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused(
    refused: Callable[..., str], recipe: Path, overrides: list[str], sentences: list[str]
) -> None:
    said = refused("validate", recipe, *overrides)
    assert all(sentence in said for sentence in sentences)
