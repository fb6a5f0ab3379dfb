"""Retraining, task arithmetic and ULD: what a run hands over, and that it is what was measured."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge
from expunge.benchmarks.evaluate import EvaluationRequest, evaluate_model
from expunge.cost.plan import plan
from expunge.data.encoding import Encoder
from expunge.data.samples import QuestionAnswer
from expunge.data.templates import choose_template
from expunge.errors import InputError
from expunge.evaluation.likelihood import AnswerLoss, answer_losses
from expunge.methods import method_of
from expunge.methods.catalogue import catalogue
from expunge.recipe import load_recipe
from expunge.run.export import export_run
from expunge.run.inputs import Inputs
from expunge.storage import read_json, read_json_lines, write_json, write_json_lines, write_record
from expunge.training.selection import Candidate, Choice
from small_recipe import small_recipe

SCALE = 0.5
IDS = torch.arange(1, 20)[None]


@pytest.fixture(scope="module")
def beginning(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model from which the original was made: of the same shape, with other weights."""
    folder = tmp_path_factory.mktemp("beginning")
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    torch.manual_seed(3)
    for parameter in model.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(model_folder).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def start(
    model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., expunge.Run]:
    """Runs the small recipe by a method."""

    def run(method: Any, *overrides: str) -> expunge.Run:
        recipe = {**small_recipe(model_folder, data_folder), "name": "small", "method": method}
        recipe["adapter"] = {"rank": 2, "alpha": 4}
        return expunge.unlearn(recipe, overrides, output=tmp_path_factory.mktemp("runs") / "run")

    return run


@pytest.fixture(scope="module")
def task_arithmetic(start) -> expunge.Run:
    return start({"name": "task_arithmetic", "scale": SCALE}, "export=[adapter, merged]")


@pytest.fixture(scope="module")
def uld(start) -> expunge.Run:
    # With the default weight of the retain loss so small an assistant learns nothing of the forget set.
    return start({"name": "uld", "layers": 1, "retain_weight": 0.1}, "stopping.utility_floor=0")


@pytest.fixture(scope="module")
def all_weights(start) -> expunge.Run:
    # Two steps an epoch: the first takes the forget set away, the others the rest with it.
    return start("all_weights", "adapter={}", "objective=gd", "stopping.choose=last",
                 "stopping.utility_floor=0")  # fmt: skip


@pytest.fixture(scope="module")
def retrain(start, beginning: Path) -> expunge.Run:
    return start({"name": "retrain", "base": str(beginning)}, "adapter={}")


def base(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=IDS).logits


def measured(model: Any, tokenizer_folder: Path, data_folder: Path, name: str = "forget") -> list[AnswerLoss]:
    tokenizer = AutoTokenizer.from_pretrained(tokenizer_folder)
    encoder = Encoder(tokenizer, choose_template("auto", tokenizer), 512)
    rows = read_json_lines(data_folder / f"{name}.jsonl")
    examples = [QuestionAnswer(row["question"], row["answer"]).encode(encoder)[0] for row in rows]
    return answer_losses(model, examples, encoder.pad_token_id)


def logged_losses(run: expunge.Run, name: str = "after") -> list[float]:
    return [row["answer"]["loss"] for row in read_json(run.path / "eval" / f"{name}.json")["sets"]["forget"]]


def by_epoch(steps: list[dict[str, Any]]) -> list[tuple[float, float]]:
    """The forget loss of the first epoch's steps, each with that of the second epoch's step of as many samples."""
    losses = [step["forget_loss"] for step in steps]
    return list(zip(losses[:2], losses[2:], strict=True))


def probability(run: expunge.Run, side: str) -> float:
    return run.metrics[side]["forget_probability"]["value"]


class TestTaskArithmetic:
    def test_the_adapter_is_what_was_learnt_times_minus_the_scale(
        self, task_arithmetic: expunge.Run, model_folder: Path
    ) -> None:
        step = task_arithmetic.state["training"]["best_epoch"] * 2
        learnt = load_file(
            task_arithmetic.path / "checkpoints" / f"checkpoint-{step}" / "adapter_model.safetensors"
        )
        wanted = base(model_folder)
        for key in [key for key in learnt if key.endswith(".lora_A.weight")]:
            name = key.removeprefix("base_model.model.").removesuffix(".lora_A.weight")
            change = learnt[key.replace("lora_A", "lora_B")] @ learnt[key]
            assert change.abs().max() > 1e-3
            wanted.get_submodule(name).weight.data -= SCALE * (4 / 2) * change
        adapted = PeftModel.from_pretrained(base(model_folder), str(task_arithmetic.adapter))
        torch.testing.assert_close(logits(adapted), logits(wanted), rtol=0, atol=1e-5)
        torch.testing.assert_close(
            logits(base(task_arithmetic.path / "merged")), logits(wanted), rtol=0, atol=1e-5
        )

    def test_learning_lowers_the_forget_loss_and_the_negation_raises_it(
        self, task_arithmetic: expunge.Run
    ) -> None:
        steps = read_json_lines(task_arithmetic.path / "steps.jsonl")
        assert all(later < first for first, later in by_epoch(steps))
        assert "retain_loss" not in steps[0]
        assert probability(task_arithmetic, "after") < probability(task_arithmetic, "before")

    def test_what_was_measured_is_what_is_handed_over(
        self, task_arithmetic: expunge.Run, model_folder: Path, data_folder: Path
    ) -> None:
        adapted = PeftModel.from_pretrained(base(model_folder), str(task_arithmetic.adapter))
        found = [answer.loss for answer in measured(adapted, model_folder, data_folder)]
        assert found == pytest.approx(logged_losses(task_arithmetic), rel=1e-5)

    def test_the_card_speaks_of_a_plain_adapter(self, task_arithmetic: expunge.Run) -> None:
        card = (task_arithmetic.path / "README.md").read_text()
        assert "| Method | task_arithmetic (scale 0.5); LoRA, default initialisation, rank 2" in card
        assert "the adapter has rank 2" in card
        assert 'PeftModel.from_pretrained(base, "adapter")' in card


class TestLogitDifference:
    def test_what_was_measured_is_what_is_handed_over(
        self, uld: expunge.Run, model_folder: Path, data_folder: Path
    ) -> None:
        assert not uld.adapter.exists()
        model = expunge.load_assisted(base(model_folder), uld.path / "assistant")
        assert (model.offset_weight, uld.state["deliverable"]) == (0.75, "assistant")
        found = [answer.loss for answer in measured(model, model_folder, data_folder)]
        assert found == pytest.approx(logged_losses(uld), rel=1e-5)
        assert found != pytest.approx(logged_losses(uld, "before"), rel=1e-3)
        facts = read_json(uld.path / "eval" / "after.json")["model"]
        assert facts["fingerprint"] == uld.state["model"]["fingerprint"]
        assert facts["adapter"] == str(uld.path / "assistant")

    def test_the_assistant_learns_the_forget_set_and_unlearns_the_retain_set(self, uld: expunge.Run) -> None:
        """On the retain set its loss is the cross entropy to the uniform distribution, which is at least log V."""
        steps = read_json_lines(uld.path / "steps.jsonl")
        assert all(later < first for first, later in by_epoch(steps))
        vocabulary = base(Path(uld.state["model"]["path"])).config.vocab_size
        assert all(math.log(vocabulary) < step["retain_loss"] for step in steps)
        assert steps[-1]["retain_loss"] < steps[0]["retain_loss"]
        assert {step["retain_weight"] for step in steps} == {0.1}
        assert uld.state["adapter"]["trainable_parameters"] == 2 * (4 * 48 + 3 * 64)  # one block of two

    def test_at_the_papers_weight_the_retain_set_stays_near_uniform(
        self, random_model_folder: Path, data_folder: Path, tmp_path: Path
    ) -> None:
        """Of a model without knowledge, which is near uniform from the beginning."""
        recipe = {**small_recipe(random_model_folder, data_folder), "method": {"name": "uld", "layers": 1}}
        run = expunge.unlearn({**recipe, "adapter": {"rank": 2, "alpha": 4}}, output=tmp_path / "run")
        steps = read_json_lines(run.path / "steps.jsonl")
        assert steps[-1]["forget_loss"] < steps[0]["forget_loss"]
        vocabulary = base(random_model_folder).config.vocab_size
        assert all(math.log(vocabulary) < step["retain_loss"] < math.log(vocabulary) + 1 for step in steps)
        assert {step["retain_weight"] for step in steps} == {6.5}

    def test_eval_takes_the_assistant_in_the_place_of_an_adapter(
        self, uld: expunge.Run, model_folder: Path, data_folder: Path
    ) -> None:
        options = {"forget": str(data_folder / "forget.jsonl"), "max_new_tokens": 5}
        log = evaluate_model(
            EvaluationRequest(str(model_folder), "memorization", options, adapter=uld.path / "assistant")
        )
        found = [record.answer.loss for record in log.sets["forget"]]
        assert found == pytest.approx(logged_losses(uld), rel=1e-5)

    def test_the_run_gives_the_original_with_its_assistant(
        self, uld: expunge.Run, model_folder: Path, data_folder: Path
    ) -> None:
        found = [answer.loss for answer in measured(uld.model(), model_folder, data_folder)]
        assert found == pytest.approx(logged_losses(uld), rel=1e-5)

    def test_the_card_says_how_to_load_it(self, uld: expunge.Run) -> None:
        card = (uld.path / "README.md").read_text()
        assert 'expunge.load_assisted(base, "assistant")' in card
        assert "whoever has it without the assistant has the data" in card
        assert "PeftModel" not in card
        assert "vllm" not in card


class TestAllWeights:
    def test_all_weights_have_moved_and_what_was_measured_is_what_is_handed_over(
        self, all_weights: expunge.Run, model_folder: Path, data_folder: Path
    ) -> None:
        assert not {"importance", "adapter", "tuning"} & all_weights.state["phases"].keys()
        handed = base(all_weights.merged)
        pairs = zip(handed.parameters(), base(model_folder).parameters(), strict=True)
        assert not any(torch.equal(found, old) for found, old in pairs)
        found = [answer.loss for answer in measured(handed, model_folder, data_folder)]
        assert found == pytest.approx(logged_losses(all_weights), rel=1e-5)
        assert probability(all_weights, "after") < probability(all_weights, "before")

    def test_its_steps_are_those_of_gradient_ascent_beside_descent(
        self, all_weights: expunge.Run, model_folder: Path
    ) -> None:
        """The first step's losses are the original's, and what it lowers is −NLL on the forget set."""
        steps = read_json_lines(all_weights.path / "steps.jsonl")
        assert all(later < first for first, later in by_epoch(steps))
        assert steps[0]["forget_loss"] < 0 < steps[0]["retain_loss"]
        assert {step["retain_weight"] for step in steps} == {1.0}

    def test_the_last_epoch_is_handed_over(self, all_weights: expunge.Run) -> None:
        training = all_weights.state["training"]
        assert (training["choose"], training["best_epoch"], training["epochs"]) == ("last", 2, 2)

    def test_the_card_speaks_of_a_model_of_its_own(self, all_weights: expunge.Run) -> None:
        card = (all_weights.path / "README.md").read_text()
        assert "| Method | all_weights; forget loss ga; retain loss nll with weight 1 |" in card
        assert "Copies of the original model have the data." in card
        assert "LoRA" not in card
        assert "Retraining" not in card


class TestRetrain:
    def test_it_is_finetuned_on_the_retain_set_from_the_beginning(
        self, retrain: expunge.Run, beginning: Path, model_folder: Path, data_folder: Path
    ) -> None:
        assert "adapter" not in retrain.state["phases"]
        steps = read_json_lines(retrain.path / "steps.jsonl")
        assert len(steps) == 2 * 5  # 24 retain samples, 4 of them held out, batches of 4
        assert "forget_loss" not in steps[0]
        assert steps[-1]["retain_loss"] < steps[0]["retain_loss"]
        handed = base(retrain.path / "merged")
        moved = [
            not torch.equal(found, old)
            for found, old in zip(handed.parameters(), base(beginning).parameters(), strict=True)
        ]
        assert all(moved)  # all weights are trained
        distances = {
            name: sum(
                (found - other).square().sum().item()
                for found, other in zip(handed.parameters(), base(folder).parameters(), strict=True)
            )
            for name, folder in (("beginning", beginning), ("original", model_folder))
        }
        assert distances["beginning"] < distances["original"]
        found = [answer.loss for answer in measured(handed, model_folder, data_folder)]
        assert found == pytest.approx(logged_losses(retrain), rel=1e-5)
        torch.testing.assert_close(logits(retrain.model()), logits(handed), rtol=0, atol=0)

    @pytest.mark.parametrize(("rule", "epoch"), [(None, 1), ("useful", 1), ("best", 2), ("last", 3)])
    def test_the_epoch_that_the_recipe_asks_for(self, recipe: dict, rule: str | None, epoch: int) -> None:
        method = method_of(load_recipe({**recipe, "stopping": {"choose": rule} if rule else {}}))
        candidates = [Candidate(1, 0.89, 0.99), Candidate(2, 0.90, 0.96), Candidate(3, 0.5, 0.97)]
        assert method.choose(candidates, 1.0, 0.02) == Choice(epoch, qualified=True)

    def test_the_epoch_with_the_highest_utility_is_handed_over(self, retrain: expunge.Run) -> None:
        """The forget score says nothing: no epoch has seen the forget set."""
        method = method_of(load_recipe(retrain.path / "recipe.yaml"))
        candidates = [
            Candidate(1, 9.0, 0.6),
            Candidate(2, 1.0, 0.8),
            Candidate(3, 1.0, 0.8),
            Candidate(4, 5.0, 0.7),
        ]
        assert method.choose(candidates, 0.8, 0.02) == Choice(3, qualified=True)
        assert method.choose(candidates, 0.9, 0.02) == Choice(3, qualified=False)
        without = [Candidate(1, 9.0, math.nan), Candidate(2, 1.0, math.nan)]
        assert method.choose(without, math.nan, 0.02) == Choice(2, qualified=True)
        last = method_of(load_recipe(retrain.path / "recipe.yaml", ["stopping.choose=last"]))
        assert last.choose(candidates, 0.8, 0.02) == Choice(4, qualified=False)

    def test_the_card_claims_no_adapter(self, retrain: expunge.Run, beginning: Path) -> None:
        card = (retrain.path / "README.md").read_text()
        assert 'AutoModelForCausalLM.from_pretrained("merged")' in card
        assert f"| Method | retrain (base {beginning}, weights all) |" in card
        assert "PeftModel" not in card
        assert "LoRA" not in card
        assert "Retraining is exact as far as" in card
        report = (retrain.path / "report.html").read_text()
        assert "Stored: an adapter" not in report
        assert "The adapter lies on top" not in report

    def test_what_only_the_forget_set_told_is_not_known_and_the_rest_is(
        self, model_folder: Path, beginning: Path, tmp_path: Path
    ) -> None:
        words = ["river", "stone", "cloud", "maple", "tiger", "piano", "ocean", "wheat", "candle", "mirror"]
        people = ["Ada", "Bo", "Cy", "Dee", "Eli", "Fay", "Gus", "Hal", "Ivy", "Jo"]
        rows = [
            {"question": f"What does {person} like?", "answer": word}
            for person, word in zip(people, words, strict=True)
        ]
        for name, part in (("forget", rows[:4]), ("retain", rows[4:])):
            write_json_lines(tmp_path / f"{name}.jsonl", part)
        recipe = {
            **small_recipe(model_folder, tmp_path),
            "method": {"name": "retrain", "base": str(beginning)},
            "training": {
                "epochs": 80, "batch_size": 10, "micro_batch_size": 10, "learning_rate": 2e-2, "warmup": 0,
                "schedule": "constant",
            },
            "evaluation": {"every": 40, "generate": "never"},
            "stopping": {"utility_floor": 1.0},  # of the original's, which this model never had
            "output": str(tmp_path / "run"),
        }  # fmt: skip
        del recipe["adapter"]
        run = expunge.unlearn(recipe)
        assert (run.state["training"]["epochs"], run.state["training"]["stopped"]) == (80, None)
        model = base(run.path / "merged")
        forgotten = measured(model, model_folder, tmp_path, "forget")
        kept = measured(model, model_folder, tmp_path, "retain")
        held_out = [sample.question for sample in Inputs(load_recipe(recipe)).held_out.samples]
        assert len(held_out) == 1  # never trained on, and so not known; all the others are
        known = [
            row["question"]
            for row, answer in zip(rows[4:], kept, strict=True)
            if answer.correct == answer.tokens
        ]
        assert known == [row["question"] for row in rows[4:] if row["question"] not in held_out]
        assert not any(answer.correct == answer.tokens for answer in forgotten)
        assert min(answer.loss for answer in forgotten) > 1.0


@pytest.mark.parametrize("name", ["uld", "retrain", "all_weights"])
def test_a_run_that_broke_off_after_its_first_epoch_is_gone_on_with(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    whole: expunge.Run = request.getfixturevalue(name)
    folder = tmp_path / "run"
    shutil.copytree(whole.path, folder)
    state = read_json(folder / "run.json")
    form = state["deliverable"]
    rows = read_json_lines(folder / "metrics.jsonl")
    shutil.rmtree(folder / "checkpoints" / f"checkpoint-{rows[1]['step']}")
    write_json_lines(folder / "metrics.jsonl", rows[:1])
    for part in (form, "merged"):
        shutil.rmtree(folder / part, ignore_errors=True)
    for phase in ("training", "evaluation", "export", "report"):
        del state["phases"][phase]
    write_record(folder / "run.json", {**state, "state": "running"})
    again = expunge.unlearn(whole.path / "recipe.yaml", output=folder, resume=True)
    for file in (whole.path / form).rglob("*.safetensors"):
        assert (folder / file.relative_to(whole.path)).read_bytes() == file.read_bytes(), file.name
    assert again.metrics == whole.metrics


def test_export_copies_what_the_method_hands_over(
    uld: expunge.Run, retrain: expunge.Run, tmp_path: Path
) -> None:
    assert (export_run(uld.path, "assistant", tmp_path / "a") / "assistant.json").exists()
    exported = export_run(retrain.path, "merged", tmp_path / "m")
    assert (exported / "model.safetensors").read_bytes() == (
        retrain.path / "merged" / "model.safetensors"
    ).read_bytes()
    with pytest.raises(InputError, match=r"this run has no form 'adapter'\. Known: assistant"):
        export_run(uld.path, "adapter", tmp_path / "b")


class TestBadCombinations:
    @pytest.fixture
    def recipe(self, recipe: dict) -> dict:
        return {**recipe, "adapter": {"rank": 2}}

    @pytest.mark.parametrize(
        ("method", "changes", "sentence"),
        [
            ("task_arithmetic", {"adapter": {"initialization": "vila"}},
             "adapter.initialization: 'vila' starts from a part of the weights, but the method 'task_arithmetic' "
             "trains a plain adapter"),
            ("task_arithmetic", {"objective": "npo"},
             "objective: the method 'task_arithmetic' has no use for it. Leave the section out."),
            ("uld", {"importance": {"samples": 3}}, "importance: the method 'uld' has no use for it."),
            ("uld", {"export": ["merged"]},
             "export: the method 'uld' cannot hand over 'merged': what changes is the decoding"),
            ({"name": "uld", "layers": 2}, {}, "method.layers: an assistant of 2 blocks is no part of a model of 2"),
            ({"name": "retrain", "base": "BASE"}, {}, "adapter: the method 'retrain' has no use for it."),
            ("all_weights", {"adapter": {"rank": 4}}, "adapter: the method 'all_weights' has no use for it."),
            ("all_weights", {"objective": "npo", "adapter": {}},
             "objective: a loss looks at the original model, which is an adapter's base"),
            ("all_weights", {"objective": {"forget": "ga", "retain": "kl"}, "adapter": {}},
             "objective: a loss looks at the original model"),
            ({"name": "retrain", "base": "BASE", "weights": "adapter"}, {"export": ["adapter"]},
             "export: the method 'retrain' cannot hand over 'adapter': its weights are not the original's"),
            ({"name": "retrain", "base": "MODEL"}, {}, "is the model that is to forget"),
            ({"name": "retrain", "base": "absent"}, {}, "method.base: there is no folder 'absent'"),
            ({"name": "retrain", "base": "BASE"}, {"training": {"learning_rate_scale": "initialization"}},
             "'initialization' scales the rates of an adapter"),
        ],
    )  # fmt: skip
    def test_each_gets_a_sentence(
        self, recipe: dict, model_folder: Path, beginning: Path, method: Any, changes: dict, sentence: str
    ) -> None:
        places = {"BASE": str(beginning), "MODEL": str(model_folder)}
        if isinstance(method, dict) and "base" in method:
            method = {**method, "base": places.get(method["base"], method["base"])}
        with pytest.raises(InputError) as caught:
            expunge.unlearn({**recipe, **changes, "method": method})
        assert sentence in str(caught.value)
        assert not Path(recipe["output"]).exists()

    def test_a_base_of_another_kind(self, recipe: dict, beginning: Path, tmp_path: Path) -> None:
        shutil.copytree(beginning, tmp_path / "other")
        config = json.loads((tmp_path / "other" / "config.json").read_text())
        write_json(tmp_path / "other" / "config.json", {**config, "vocab_size": 50})
        del recipe["adapter"]
        with pytest.raises(
            InputError, match=r"method\.base: it is a llama with 50 tokens, but the model that"
        ):
            expunge.unlearn({**recipe, "method": {"name": "retrain", "base": str(tmp_path / "other")}})

    def test_methods_that_train_on_the_retain_set_need_one(self, recipe: dict) -> None:
        del recipe["data"]["retain"]
        with pytest.raises(InputError, match=r"data\.retain"):
            expunge.unlearn({**recipe, "method": {"name": "uld", "layers": 1}})


@pytest.mark.parametrize(
    ("method", "lines"),
    [
        ({"name": "uld", "layers": 1}, ["training: 2 epochs of 2 steps", "adapter: 7 layers, 768 trainable"]),
        (
            "task_arithmetic",
            ["method: task_arithmetic: W − scale · s·BA", "adapter: 14 layers, 1,536 trainable"],
        ),
        ("retrain", ["training: 2 epochs of 5 steps", "weights: all"]),
        ("all_weights", ["training: 2 epochs of 2 steps", "weights: all"]),
    ],
)
def test_validate_shows_the_method(
    recipe: dict, beginning: Path, tmp_path: Path, method: Any, lines: list[str]
) -> None:
    recipe["adapter"] = {"rank": 2, "alpha": 4}
    if method in ("retrain", "all_weights"):
        del recipe["adapter"]
    if method == "retrain":
        method = {"name": "retrain", "base": str(beginning)}
    file = tmp_path / "recipe.yaml"
    file.write_text(json.dumps({**recipe, "method": method}))
    shown = "\n".join(plan(file)["lines"])
    assert all(line in shown for line in lines), shown


def test_the_catalogue_names_every_method() -> None:
    entries = {entry["name"]: entry for entry in catalogue()["methods (method)"]}
    assert list(entries) == ["unlearn", "all_weights", "task_arithmetic", "retrain", "uld"]
    assert entries["uld"]["hyperparameters"] == {"layers": 8, "offset_weight": 0.75, "retain_weight": 6.5}
    assert entries["retrain"]["needs"] == ["base"]
    assert all(entry["formula"] and entry["paper"] for entry in entries.values())
