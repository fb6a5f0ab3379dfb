"""What a run refuses without having read weights, `validate` refuses in the same words."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers.integrations import integration_utils

import expunge
from expunge.adapters.loading import load_model
from expunge.benchmarks.tofu.benchmark import TofuBenchmark
from expunge.benchmarks.tofu.open_unlearning import to_open_unlearning
from expunge.cost.plan import plan
from expunge.data.settings import OwnData
from expunge.errors import InputError
from expunge.models.loading import load_tokenizer
from expunge.models.settings import Model
from expunge.recipe import load_recipe
from expunge.run.given_logs import read_given_log
from expunge.run.inputs import Inputs, make_encoder
from expunge.storage import read_json, write_json


@pytest.fixture
def refused(recipe: dict[str, Any]) -> Callable[..., list[str]]:
    """What `validate` says of the recipe with other values, and that `run` says the same and writes nothing."""

    def refuse(**changes: Any) -> list[str]:
        for key, value in changes.items():
            section, name = key.split("__")
            recipe.setdefault(section, {})[name] = value
        with pytest.raises(InputError) as planned:
            plan(recipe)
        with pytest.raises(InputError) as run:
            expunge.unlearn(recipe)
        assert str(run.value) == str(planned.value)
        assert not Path(recipe["output"]).exists()
        return [str(problem) for problem in planned.value.problems]

    return refuse


def test_a_key_is_named_with_the_recipes_file(recipe: dict[str, Any], tmp_path: Path) -> None:
    recipe["adapter"]["rank"] = 40
    file = tmp_path / "mine.yaml"
    file.write_text(json.dumps(recipe))
    for command in (plan, expunge.unlearn):
        with pytest.raises(InputError, match="exceeds the smaller side") as error:
            command(file)
        assert [problem.where for problem in error.value.problems] == [f"{file}: adapter.rank"]


def test_quantisation_without_its_library(refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as if it were not installed
    assert refused(model__quantization="4bit") == [
        "model.quantization: 4bit needs bitsandbytes, which is not installed. pip install 'expunge[quantization]'"
    ]


@pytest.mark.parametrize("key", ["official", "perturb"])
def test_a_procedure_that_the_estimator_lacks(refused: Any, key: str) -> None:
    (problem,) = refused(**{f"importance__{key}": True})
    assert problem.startswith(f"importance.{key}: ")


def test_trackers(refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise RuntimeError("WandbCallback requires wandb to be installed. Run `pip install wandb`.")

    monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "wandb", missing)
    unknown, absent = refused(training__report_to=["tensorbord", "wandb"])
    assert unknown.startswith(
        "training.report_to: there is no tracker 'tensorbord'. Did you mean 'tensorboard'?"
    )
    assert absent.startswith("training.report_to: 'wandb' cannot be used: WandbCallback requires wandb to be")


@pytest.mark.parametrize("side", ["model", "reference"])
def test_a_model_without_weights_that_can_be_read(
    refused: Any, model_folder: Path, tmp_path: Path, side: str
) -> None:
    key = {"model": "model__path", "reference": "evaluation__reference"}[side]
    folder = tmp_path / "other"
    shutil.copytree(model_folder, folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    (pickled,) = refused(**{key: str(folder)})
    assert f"{key.replace('__', '.')}: the weights of '{folder}' are pickled" in pickled
    (folder / "pytorch_model.bin").rename(folder / "model-00001-of-00002.safetensors")
    shards = {f"w{n}": f"model-0000{n}-of-00002.safetensors" for n in (1, 2)}
    write_json(folder / "model.safetensors.index.json", {"weight_map": shards})
    (cut,) = refused(**{key: str(folder)})
    assert f"the folder '{folder}' lacks weights: model-00002-of-00002.safetensors." in cut


def test_a_sample_longer_than_the_window(refused: Any, model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "narrow")
    config = read_json(model_folder / "config.json")
    write_json(tmp_path / "narrow" / "config.json", {**config, "max_position_embeddings": 9})
    (problem,) = refused(model__path=str(tmp_path / "narrow"))
    assert "tokens does not fit into the model's window of 9. Set it to 9 or less" in problem


def test_a_reference_that_reads_other_tokens(refused: Any, model_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(model_folder, tmp_path / "other")
    config = read_json(model_folder / "config.json")
    write_json(tmp_path / "other" / "config.json", {**config, "vocab_size": 50})
    (problem,) = refused(evaluation__reference=str(tmp_path / "other"))
    assert f"has 50 tokens, and the model that is to forget {config['vocab_size']}." in problem


def test_a_file_of_thresholds_that_holds_none(refused: Any, tmp_path: Path) -> None:
    wrong = ([1], {"forget_probability": "low"}, {"forget_probability": "nan"}, {})
    for content in ({"thresholds": found} for found in wrong):
        write_json(tmp_path / "thresholds.json", content)
        (problem,) = refused(
            stopping__rule="thresholds", stopping__thresholds=str(tmp_path / "thresholds.json")
        )
        assert problem.startswith(
            f"stopping.thresholds: '{tmp_path / 'thresholds.json'}' holds no thresholds"
        )


@pytest.mark.parametrize("name", ["lm-eval", "reasoning", "dialogue"])
def test_a_benchmark_that_cannot_judge_a_run(refused: Any, name: str) -> None:
    """Before it is asked for files or a library that would not help."""
    (problem,) = refused(evaluation__benchmark=name)
    assert problem.startswith(f"recipe: evaluation.benchmark: '{name}' measures what a model can do")


def test_a_benchmark_is_named_by_the_recipes_key_not_by_an_option(refused: Any, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="needs the extra `eval`: pip install 'expunge[eval]'")
    (problem,) = refused(evaluation__benchmark="wmdp", evaluation__path=str(tmp_path / "absent"))
    assert problem.startswith("evaluation.path: ")


class TestGivenLogs:
    @pytest.fixture
    def log(self, recipe: dict[str, Any], model_folder: Path, tmp_path: Path) -> Path:
        """Of the recipe's own data, without generations, as a run or `expunge eval` writes it."""
        inputs = Inputs(load_recipe(recipe))
        measured = inputs.benchmark.measure(load_model(Model(path=str(model_folder))), inputs.encoder)
        write_json(tmp_path / "log.json", measured.to_json())
        recipe["evaluation"]["generate"] = "never"
        return tmp_path / "log.json"

    def test_of_the_same_data(self, recipe: dict[str, Any], log: Path) -> None:
        recipe["evaluation"]["reference"] = str(log)
        assert plan(recipe)["forget_samples"] == 6

    def test_of_another_number_of_samples(self, refused: Any, log: Path) -> None:
        forget, retain = refused(evaluation__reference=str(log), evaluation__samples=2)
        assert forget == (
            f"evaluation.reference: {log}: it holds 6 samples of the forget set, and here are 2. "
            "Name another log, or a model, or leave the key out."
        )
        assert "it holds 4 samples of the retain set, and here are 2." in retain

    @pytest.mark.parametrize("side", ["reference", "before"])
    def test_of_other_data(self, refused: Any, log: Path, side: str) -> None:
        content = read_json(log)
        write_json(log, {**content, "data": {**content["data"], "hash": "0123456789abcdef"}})
        (problem,) = refused(**{f"evaluation__{side}": str(log)})
        own = content["data"]["hash"][:12]
        assert problem.startswith(
            f"evaluation.{side}: {log}: it is of other data: their hash is 0123456789ab…, and that of those "
            f"here {own}…."
        )

    def test_asked_in_another_way(self, refused: Any, log: Path) -> None:
        content = read_json(log)
        other = {**content["settings"], "template": "Q: {question} A: {answer}", "max_new_tokens": 3}
        write_json(log, {**content, "settings": other})  # nothing was generated: its length plays no part
        (problem,) = refused(evaluation__reference=str(log))
        assert (
            "its template is 'Q: {question} A: {answer}', and the one here is 'Question: {question}"
            in problem
        )

    def test_without_the_generations_that_the_run_compares(self, refused: Any, log: Path) -> None:
        (problem,) = refused(evaluation__reference=str(log), evaluation__generate="every")
        assert f"{log}: it holds no generated answers" in problem
        # What the loss aims at is compared even where answers are written of the chosen epoch alone.
        (problem,) = refused(
            evaluation__reference=str(log), evaluation__generate="chosen", objective__forget="idk"
        )
        assert "it holds no generated answers, which evaluation.generate: chosen compares" in problem

    def test_of_an_adapted_model(self, refused: Any, log: Path) -> None:
        write_json(log, {**read_json(log), "model": {"adapter": "runs/mine/adapter"}})
        (problem,) = refused(evaluation__before=str(log))
        assert "it is of the model with the adapter runs/mine/adapter, not of the original." in problem

    def test_a_retain_set_that_is_yet_to_be_sampled_leaves_only_the_forget_set_to_compare(
        self, recipe: dict[str, Any], log: Path
    ) -> None:
        recipe["data"]["retain"] = "self"
        recipe["evaluation"]["reference"] = str(log)
        assert plan(recipe)["forget_samples"] == 6
        recipe["evaluation"]["samples"] = 2
        with pytest.raises(InputError, match="it holds 6 samples of the forget set, and here are 2"):
            plan(recipe)


def tofu_folder(folder: Path, forget: list[str]) -> Path:
    """TOFU's four sets with one question for each answer."""
    folder.mkdir()
    sets = {name: ["Paris.", "Rome."] for name in ("retain", "real_authors", "world_facts")}
    for name, answers in {**sets, "forget01": forget}.items():
        rows = [
            {"question": f"What is {n}?", "answer": answer, "perturbed_answer": ["Oslo."], "paraphrased_answer": "It."}
            for n, answer in enumerate(answers)
        ]  # fmt: skip
        (folder / f"{name}_perturbed.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_logs_of_other_tools_are_compared_by_what_they_hold(model_folder: Path, tmp_path: Path) -> None:
    """They have neither hash nor fingerprint, but the forget answers; a few may be written in another way."""
    model = Model(path=str(model_folder))
    encoder = make_encoder(load_tokenizer(model), OwnData(forget="unused"))
    own = TofuBenchmark(tofu_folder(tmp_path / "own", ["Ada.", "Bo.", "Cy."]), "forget01", max_new_tokens=2)
    loaded = load_model(model)
    for name, answers, sentence in (
        ("same", ["Ada.", "Bo.", "Cy!"], None),
        ("fewer", ["Ada.", "Bo."], "it holds 2 samples of the forget set, and here are 3."),
        ("other", ["Ada.", "Di.", "Ed."], "of its 3 answers of the forget set 2 are not those here."),
    ):
        benchmark = TofuBenchmark(tofu_folder(tmp_path / name, answers), "forget01", max_new_tokens=2)
        file = tmp_path / f"{name}.json"
        write_json(file, to_open_unlearning(benchmark.evaluate(loaded, encoder)))
        data = {"format": "tofu", "path": str(tmp_path / "own"), "forget": "forget01"}
        recipe = load_recipe({"model": {"path": "m"}, "data": data, "evaluation": {"reference": str(file)}})
        if sentence is None:
            assert read_given_log(recipe, "reference", own, encoder, complete=True, answers=False) is not None
            continue
        with pytest.raises(InputError) as error:
            read_given_log(recipe, "reference", own, encoder, complete=True, answers=False)
        (problem,) = error.value.problems
        assert (problem.where, problem.reason) == (f"evaluation.reference: {file}", sentence)


def test_says_where_the_run_will_lie_and_whether_it_can(recipe: dict[str, Any]) -> None:
    folder = Path(recipe["output"])
    assert plan(recipe)["lines"][-1] == f"output: {folder}"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    assert plan(recipe)["lines"][-1].endswith(
        "(the folder is not empty and holds no run. Choose another --output.)"
    )
    (folder / "notes.txt").unlink()
    expunge.unlearn(recipe)
    assert "go on with it by --resume" in plan(recipe)["lines"][-1]
