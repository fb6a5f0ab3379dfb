"""Recipes: every mistake at once, each with its remedy; what is written is what was read."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge.benchmarks.tofu.settings import TofuData
from expunge.data.settings import OwnData
from expunge.errors import InputError, Problem
from expunge.recipe import dump_recipe, load_recipe
from expunge.recipe.loading import naming_recipe

TOFU = {"model": {"path": "m"}, "data": {"format": "tofu", "path": "d"}}


def test_defaults_are_those_of_the_interface() -> None:
    recipe = load_recipe(TOFU)
    assert isinstance(recipe.data, TofuData)
    assert recipe.data.retain_split == "retain90"
    assert (recipe.adapter.initialization, recipe.adapter.rank, recipe.adapter.alpha) == (
        "directions",
        32,
        64,
    )
    assert (recipe.objective.forget, recipe.objective.retain) == ("ihl", "nll")
    assert (recipe.training.batch_size, recipe.training.epochs, recipe.seed) == ("auto", "auto", 42)
    assert (recipe.training.learning_rate, recipe.training.warmup, recipe.tuning.trials) == (
        "auto",
        "auto",
        6,
    )
    assert recipe.benchmark == "tofu"


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(InputError) as caught:
        load_recipe(
            {
                "modle": {},
                "data": {"format": "tofu", "path": "d", "forgot": "forget10"},
                "objective": {"forget": "ihll", "retain_weight": -1},
                "adapter": {"initialization": "villa"},
                "training": {"epochs": "many", "warmup": "soon"},
            }
        )
    found = {problem.where: str(problem) for problem in caught.value.problems}
    assert set(found) == {
        f"recipe: {key}"
        for key in ("modle", "model", "data.forgot", "objective.forget", "objective.retain_weight",
                    "adapter.initialization", "training.epochs", "training.warmup")
    }  # fmt: skip
    assert "Did you mean 'model'" in found["recipe: modle"]
    assert "Did you mean 'forget'" in found["recipe: data.forgot"]
    assert "Did you mean 'ihl'" in found["recipe: objective.forget"]
    assert "Did you mean 'vila'" in found["recipe: adapter.initialization"]
    assert "'many'" in found["recipe: training.epochs"]


def test_numbers_in_yamls_other_notation_are_numbers(tmp_path: Path) -> None:
    """YAML reads 1e-4 as a string."""
    file = tmp_path / "mine.yaml"
    file.write_text(
        "model: {path: m}\ndata: {format: qa, forget: f.jsonl}\ntraining: {learning_rate: 1e-4}\n"
    )
    recipe = load_recipe(file)
    assert recipe.training.learning_rate == 1e-4
    assert recipe.output_folder == "runs/mine"
    assert isinstance(recipe.data, OwnData)
    assert load_recipe(file, ["training.learning_rate=3e-5"]).training.learning_rate == 3e-5


def test_overrides_reach_into_sections_and_presets_can_be_refined() -> None:
    recipe = load_recipe(
        {**TOFU, "objective": "gd"}, ["objective.retain_weight=1.5", "adapter.targets=[q_proj]"]
    )
    assert (recipe.objective.forget, recipe.objective.retain, recipe.objective.retain_weight) == (
        "ga",
        "nll",
        1.5,
    )
    assert recipe.adapter.targets == ["q_proj"]
    assert load_recipe(TOFU).objective.retain_weights == (1.0, 6.0)
    assert recipe.objective.retain_weights == (1.5, 1.5)
    assert load_recipe(TOFU, ["objective.retain_weight=[1, 2]"]).objective.retain_weights == (1.0, 2.0)
    assert load_recipe(TOFU, ["objective.retain_weight=1e-1"]).objective.retain_weights == (0.1, 0.1)
    assert load_recipe(TOFU, ["objective.retain_weight=[1e-1, 6]"]).objective.retain_weights == (0.1, 6.0)
    assert load_recipe({**TOFU, "objective": "gd"}).objective.retain_weights == (1.0, 1.0)
    assert load_recipe(TOFU, ["objective.retain_bound=0.3"]).objective.retain_weights == (1.0, 1.0)
    with pytest.raises(
        InputError, match="retain_weight has two numbers, and with retain_bound λ moves by itself"
    ):
        load_recipe(TOFU, ["objective.retain_bound=0.3", "objective.retain_weight=[1, 2]"])
    with pytest.raises(
        InputError, match=r"λ is a number from 0 on, or two, at the first step and at the last"
    ):
        load_recipe(TOFU, ["objective.retain_weight=[1, -2]"])
    with pytest.raises(InputError, match=r"Write key\.sub=value"):
        load_recipe(TOFU, ["training.epochs"])


def test_a_dumped_recipe_is_read_back_as_the_same(tmp_path: Path) -> None:
    recipe = load_recipe({**TOFU, "objective": "gd", "training": {"warmup": "10%"}, "name": "a"})
    file = tmp_path / "recipe.yaml"
    file.write_text(dump_recipe(recipe))
    assert load_recipe(file) == recipe


@pytest.mark.parametrize(
    ("warmup", "steps"), [("1 epoch", 13), ("0.5 epochs", 6), ("10%", 6), (7, 7), ("7", 7), (0, 0)]
)
def test_warm_up_in_steps(warmup: str | int, steps: int) -> None:
    recipe = load_recipe({**TOFU, "training": {"warmup": warmup, "epochs": 5}})
    assert recipe.training.plan(400).warmup_steps(13) == steps


def test_alpha_is_twice_the_rank_unless_it_is_given() -> None:
    adapters = [{}, {"rank": 6}, {"alpha": 16}, {"rank": 6, "alpha": 5}]
    loaded = [load_recipe({**TOFU, "adapter": adapter}).adapter for adapter in adapters]
    assert [(adapter.rank, adapter.alpha) for adapter in loaded] == [(32, 64), (6, 12), (32, 16), (6, 5)]
    assert load_recipe(TOFU, ["adapter.rank=8"]).adapter.alpha == 16


@pytest.mark.parametrize("rank", [0, "wide", 2.5])
def test_a_wrong_rank_is_one_problem_and_alpha_which_follows_from_it_none(rank: object) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe({**TOFU, "adapter": {"rank": rank}})
    assert [problem.where for problem in caught.value.problems] == ["recipe: adapter.rank"]
    with pytest.raises(InputError) as caught:
        load_recipe({**TOFU, "adapter": {"rank": rank, "alpha": -1}})
    assert {problem.where for problem in caught.value.problems} == {
        "recipe: adapter.rank",
        "recipe: adapter.alpha",
    }


@pytest.mark.parametrize(
    ("every", "given", "between"),
    [
        ("auto", "auto", [1, 1, 2, 2, 3]),
        ("auto", 7, [1, 1, 1, 1, 1]),
        ("epoch", "auto", [1, 1, 1, 1, 1]),
        ("epoch", 7, [1, 1, 1, 1, 1]),
        (3, "auto", [3, 3, 3, 3, 3]),
        (3, 7, [3, 3, 3, 3, 3]),
        (None, "auto", [1, 1, 2, 2, 3]),
    ],
)
def test_epochs_between_evaluations(every: str | int | None, given: str | int, between: list[int]) -> None:
    """Of 1, 5, 8, 10 and 13 epochs: where they are left open, so that there are five evaluations at most."""
    evaluation = {} if every is None else {"every": every}
    recipe = load_recipe({**TOFU, "training": {"epochs": given}, "evaluation": evaluation})
    assert [recipe.epochs_between_evaluations(epochs) for epochs in (1, 5, 8, 10, 13)] == between


@pytest.mark.parametrize("key", ["learning_rate", "epochs", "batch_size"])
def test_what_is_neither_a_value_nor_auto_is_one_problem(key: str) -> None:
    with pytest.raises(InputError) as caught:
        load_recipe({**TOFU, "training": {key: -1}})
    (problem,) = caught.value.problems
    assert (problem.where, "-1" in problem.reason) == (f"recipe: training.{key}", True)


def test_a_file_that_is_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        load_recipe(tmp_path / "absent.yaml")
    (tmp_path / "broken.yaml").write_text("model: [")
    with pytest.raises(InputError, match="not valid YAML"):
        load_recipe(tmp_path / "broken.yaml")
    (tmp_path / "open.yaml").write_text("seed: 1\nmodel: {path: x\n")
    with pytest.raises(InputError, match=r"not valid YAML: line 3, column 1: expected ',' or '}', but got"):
        load_recipe(tmp_path / "open.yaml")
    (tmp_path / "text.yaml").write_text("just words")
    with pytest.raises(InputError, match="holds no sections"):
        load_recipe(tmp_path / "text.yaml")


def test_a_value_where_a_section_belongs_is_answered_with_its_keys() -> None:
    given = {**TOFU, "model": 5, "training": "fast"}
    with pytest.raises(InputError) as raised:
        load_recipe(given)
    problems = {problem.where: problem for problem in raised.value.problems}
    assert problems["recipe: model"].reason == "the value 5 does not fit: a section of keys belongs here."
    assert problems["recipe: model"].remedy.startswith("Its keys: path, revision, dtype,")
    assert "learning_rate" in problems["recipe: training"].remedy
    with pytest.raises(InputError, match=r"recipe: data: the value 5 does not fit: .* Its keys: .*forget"):
        load_recipe({**TOFU, "data": 5})


def test_a_problem_with_a_key_names_the_recipes_file_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("data.jsonl").touch()
    places = ["adapter.rank", "data.forget: a.jsonl", "method", "output: runs/x", "data.jsonl, row 3",
              "importance of q_proj", "models/data.json: key"]  # fmt: skip

    def raised(source: object) -> list[str]:
        with pytest.raises(InputError) as error, naming_recipe(source):
            raise InputError([Problem(where, "it is wrong.", "Correct it.") for where in places])
        return [problem.where for problem in error.value.problems]

    assert raised({}) == places
    assert raised(tmp_path / "mine.yaml") == [
        *(f"{tmp_path / 'mine.yaml'}: {where}" for where in places[:3]), *places[3:],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("section", "key"),
    [
        ("training", "learning_rate"),
        ("objective", "retain_weight"),
        ("adapter", "layers"),
        ("data", "max_length"),
    ],
)
def test_true_is_not_the_number_1(section: str, key: str) -> None:
    minimal = {"model": {"path": "m"}, "data": {"forget": "f"}}
    with pytest.raises(InputError, match=rf"recipe: {section}: {key} cannot be true"):
        load_recipe(minimal, [f"{section}.{key}=true"])
    assert load_recipe(minimal, ["importance.perturb=true"]).importance.perturb


def test_a_batch_must_be_whole_micro_batches() -> None:
    with pytest.raises(InputError, match="no multiple of micro_batch_size 8"):
        load_recipe({**TOFU, "training": {"batch_size": 20, "micro_batch_size": 8}})


def test_a_bound_needs_a_retain_loss_that_it_bounds() -> None:
    with pytest.raises(
        InputError, match=r"retain_bound is 0\.5, but with retain: none there is no retain loss"
    ):
        load_recipe({**TOFU, "objective": {"forget": "ga", "retain": "none", "retain_bound": 0.5}})
    assert (
        load_recipe({**TOFU, "objective": {"retain": "kl", "retain_bound": 0.5}}).objective.retain_bound
        == 0.5
    )


def test_a_custom_template_needs_its_places() -> None:
    data = {**TOFU["data"], "template": {"prompt": "Q {question} A"}}
    assert load_recipe({**TOFU, "data": data}).data.template.answer == "{answer}"
    with pytest.raises(InputError, match=r"does not contain \{question\}"):
        load_recipe({**TOFU, "data": {**TOFU["data"], "template": {"prompt": "Q A"}}})


def test_the_first_questions_are_asked_of_a_benchmark_that_knows_them() -> None:
    data = {"format": "tofu", "path": "t", "forget": "forget01"}
    content = {"model": {"path": "m"}, "data": data, "evaluation": {"first": 300}}
    assert load_recipe(content).evaluation.first == 300
    own = {**content, "data": {"forget": "f.jsonl", "retain": "r.jsonl"}}
    with pytest.raises(InputError, match=r"evaluation\.first: the benchmark 'memorization' does not know it"):
        load_recipe(own)
