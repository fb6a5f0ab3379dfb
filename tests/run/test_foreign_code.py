"""Code that comes with a model is run where this call says so, and nowhere else: no recipe and no run folder can."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

import expunge
from code_model import with_code
from expunge.cli import main
from expunge.cost.plan import plan
from expunge.errors import InputError
from expunge.models.loading import load_base
from expunge.models.settings import Model
from expunge.run.export import export_run
from expunge.run.finetune import finetune_recipe
from expunge.run.importance import measure_and_store
from expunge.trust import is_trusted, trusting
from small_recipe import small_recipe

REFUSED = "model.trust_remote_code: a recipe gives no leave to run code: it may come from anyone. Where you trust the "
REFUSED += "code, say so on the command line of this call: --trust-remote-code."


@pytest.fixture(autouse=True)
def _modules_in_a_place_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    return tmp_path / "mark"


@pytest.fixture(scope="module")
def finished(model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = small_recipe(model_folder, data_folder)
    return expunge.unlearn(recipe, output=tmp_path_factory.mktemp("finished") / "run").path


def test_a_model_that_needs_its_code(model_folder: Path, tmp_path: Path, mark: Path) -> None:
    model = Model(path=str(with_code(model_folder, tmp_path / "model", mark, "own-llama")))
    with pytest.raises(
        InputError, match=r"comes with Python code, and cannot be loaded without.*--trust-remote-code"
    ):
        load_base(model)
    assert not mark.exists()
    with trusting(True):
        assert type(load_base(model)).__name__ == "OwnModel"
    assert mark.exists()
    assert not is_trusted()


def test_the_word_of_a_recipe_alone(
    model_folder: Path, data_folder: Path, tmp_path: Path, mark: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = with_code(model_folder, tmp_path / "model", mark, "llama")
    recipe = {**small_recipe(folder, data_folder), "output": str(tmp_path / "run")}
    recipe["model"]["trust_remote_code"] = True
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(recipe))
    for command in (
        "run",
        "validate",
        "importance",
        ["finetune", "--on", "full", "--output", str(tmp_path / "out")],
    ):
        name, *options = [command] if isinstance(command, str) else command
        monkeypatch.setattr("sys.argv", ["expunge", name, str(file), *options])
        with pytest.raises(SystemExit) as leave:
            main()
        assert leave.value.code == 2
    for use in (plan, expunge.unlearn, measure_and_store,
                lambda source: finetune_recipe(source, on="full", output=tmp_path / "out")):  # fmt: skip
        with pytest.raises(InputError, match=re.escape(REFUSED)):
            use(file)
    assert not mark.exists()
    assert not (tmp_path / "run").exists()
    assert plan(file, ["model.trust_remote_code=false"])["steps"]  # the weights are those of a Llama
    assert not mark.exists()


@pytest.mark.parametrize(
    "use",
    [
        lambda run, out: export_run(run, "merged", out),
        lambda run, out: expunge.Run(run).model(),
        lambda run, out: expunge.unlearn(run / "recipe.yaml", output=run, resume=True),
    ],
    ids=["export", "model", "resume"],
)
def test_the_word_of_a_run_folder(
    finished: Path, model_folder: Path, tmp_path: Path, mark: Path, use: Callable[[Path, Path], Any]
) -> None:
    """The folder comes from a stranger: its recipe names a model with code, and says that the code is to be run."""
    run = shutil.copytree(finished, tmp_path / "run")
    content = yaml.safe_load((run / "recipe.yaml").read_text())
    content["model"] |= {
        "path": str(with_code(model_folder, tmp_path / "model", mark, "llama")), "trust_remote_code": True
    }  # fmt: skip
    (run / "recipe.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=re.escape(REFUSED)):
        use(run, tmp_path / "out")
    content["model"]["trust_remote_code"] = False
    (run / "recipe.yaml").write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="fingerprint"):  # which is of the configuration too
        use(run, tmp_path / "out")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("command", "work"),
    [
        (["run", "r.yaml"], "expunge.run.unlearn.load_requests"),
        (["validate", "r.yaml"], "expunge.cost.plan.plan"),
        (["importance", "r.yaml"], "expunge.run.importance.measure_and_store"),
        (["finetune", "r.yaml", "--on", "full", "--output", "o"], "expunge.run.finetune.finetune_recipe"),
        (["export", "r", "--output", "o"], "expunge.run.export.export_run"),
        (["eval", "m"], "expunge.benchmarks.evaluate.evaluate_model"),
    ],
)
def test_the_word_of_the_command_line_holds_for_that_command(
    command: list[str], work: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[bool] = []

    def asked(*_: Any, **__: Any) -> None:
        said.append(is_trusted())
        raise InputError([])

    monkeypatch.setattr(work, asked)
    for options in ([], ["--trust-remote-code"]):
        monkeypatch.setattr("sys.argv", ["expunge", *command, *options])
        with pytest.raises(SystemExit):
            main()
    assert said == [False, True]
    assert not is_trusted()
