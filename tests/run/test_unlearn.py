"""The main job on a small model: what lies in the run folder, and that bad input leaves nothing behind."""

from __future__ import annotations

import html
import json
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
from expunge.cli import main
from expunge.errors import InputError
from expunge.storage import read_json, read_json_lines, write_json_lines, write_record
from small_recipe import small_recipe

PHASES = ["baseline", "importance", "adapter", "training", "evaluation", "export", "report"]


@pytest.fixture(scope="module")
def finished(model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> expunge.Run:
    recipe = {**small_recipe(model_folder, data_folder), "name": "small", "export": ["adapter", "merged"]}
    recipe["adapter"] = {**recipe["adapter"], "initialization": "vila"}
    return expunge.unlearn(recipe, output=tmp_path_factory.mktemp("runs") / "run")


def test_the_run_folder_is_that_of_the_interface(finished: expunge.Run) -> None:
    there = {entry.name for entry in finished.path.iterdir()}
    assert there >= {
        "recipe.yaml", "run.json", "metrics.jsonl", "importance.safetensors", "initial_adapter", "checkpoints",
        "adapter", "merged", "eval", "report.html", "README.md",
    }  # fmt: skip
    assert not [entry for entry in finished.path.rglob("*.partial") if entry.is_file()]
    assert {entry.name for entry in (finished.path / "eval").iterdir()} == {
        "before.json", "after.json", "epoch-1.json", "epoch-2.json", "checksums.json",
    }  # fmt: skip


def test_what_quotes_or_scores_samples_is_for_the_owner_alone(finished: expunge.Run) -> None:
    for file in finished.path.glob("eval/*"):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    assert stat.S_IMODE((finished.path / "checkpoints").stat().st_mode) == 0o700


def test_run_json_records_what_was_done(finished: expunge.Run) -> None:
    state = read_json(finished.path / "run.json")
    assert state["state"] == "done"
    assert list(state["phases"]) == PHASES
    assert all(phase["state"] == "done" and phase["attempts"] == 1 for phase in state["phases"].values())
    assert all(phase["seconds"] > 0 for phase in state["phases"].values())
    assert state["phases"]["training"]["flops"] > 0
    assert state["data"]["forget"]["n"] == 6
    assert state["data"]["retain"]["n"] == 24
    rows = read_json_lines(finished.path / "metrics.jsonl")
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 2), (2, 4)]
    assert [row["step"] for row in read_json_lines(finished.path / "steps.jsonl")] == [1, 2, 3, 4]
    assert finished.metrics["after"]["forget_probability"]["n"] == 6
    assert finished.metrics["after"]["retain_probability"]["n"] == 4  # a fifth of 24, never trained on


def test_trainable_parameters_are_those_of_the_shapes(finished: expunge.Run) -> None:
    """Per block: four attention layers of 24 + 24 and three of the feed-forward part of 24 + 40, rank 2, 2 blocks."""
    assert finished.state["adapter"]["trainable_parameters"] == 2 * 2 * (4 * 48 + 3 * 64)
    assert finished.state["adapter"]["modules"] == 14
    stored = (finished.adapter / "adapter_model.safetensors").stat().st_size
    assert (
        finished.state["adapter"]["bytes"]
        == stored
        > 2 * 4 * finished.state["adapter"]["trainable_parameters"]
    )


def test_training_flops_by_hand(finished: expunge.Run) -> None:
    """Base layers forward and backward to the activations, adapters also to their weights: within the padding."""
    counted = finished.state["phases"]["training"]["flops"]
    base = 2 * (4 * 24 * 24 + 3 * 24 * 40)
    assert counted > 2 * base * 2 * 2 * 12 * 15  # 12 + 12 rows of at least 15 tokens, 2 epochs, 2 passes


def test_the_adapter_is_the_chosen_epochs_and_fits_the_base(
    finished: expunge.Run, model_folder: Path
) -> None:
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    ids = torch.arange(1, 20)[None]
    with torch.no_grad():
        adapted = PeftModel.from_pretrained(base, str(finished.adapter))(input_ids=ids).logits
        merged = AutoModelForCausalLM.from_pretrained(finished.path / "merged")(input_ids=ids).logits
    torch.testing.assert_close(adapted, merged, rtol=0, atol=1e-5)


def test_neither_report_nor_card_repeats_the_forgotten_text(finished: expunge.Run) -> None:
    for name in ("report.html", "README.md", "run.json"):
        assert "SECRET" not in (finished.path / name).read_text()


def test_the_row_importances_are_kept(finished: expunge.Run) -> None:
    rows = load_file(finished.path / "importance.safetensors")
    assert len(rows) == 14
    assert rows["model.layers.0.mlp.up_proj"].shape == (40,)
    assert all((d > 0).all() for d in rows.values())


def test_the_same_recipe_gives_the_same_adapter(finished: expunge.Run, tmp_path: Path) -> None:
    again = expunge.unlearn(finished.path / "recipe.yaml", ["export=[adapter]"], output=tmp_path / "run")
    ours, theirs = (path / "adapter_model.safetensors" for path in (finished.adapter, again.adapter))
    assert ours.read_bytes() == theirs.read_bytes()


def test_overrides_and_output_hold_for_a_recipe_object_too(recipe: dict, tmp_path: Path) -> None:
    """What they name changes; a hyper-parameter that was left to npo's default is simnpo's default now."""
    loaded = expunge.load_recipe(recipe, ["objective.forget=npo", "training.epochs=1"])
    overrides = ["training.learning_rate=0.5", "objective.forget=simnpo"]
    run = expunge.unlearn(loaded, overrides, output=tmp_path / "asked")
    assert run.path == tmp_path / "asked"
    assert not Path(loaded.output).exists()
    ran = expunge.load_recipe(run.path / "recipe.yaml")
    assert (ran.training.learning_rate, ran.objective.hyperparameters["beta"]) == (0.5, 2.5)
    assert ran == expunge.load_recipe(recipe, ["training.epochs=1", *overrides], output=str(run.path))


@pytest.mark.parametrize("initialization", ["default", "pissa", "fila", "factored"])
@pytest.mark.parametrize("objective", ["gd", "npo"])
def test_every_initialisation_and_objective_runs_to_its_end(
    recipe: dict, initialization: str, objective: str
) -> None:
    run = expunge.unlearn(
        recipe, [f"adapter.initialization={initialization}", f"objective.forget={objective}"]
    )
    assert run.state["state"] == "done"
    assert ("importance" in run.state["phases"]) == (initialization in ("fila", "factored"))
    assert (
        run.metrics["after"]["forget_probability"]["value"]
        != run.metrics["before"]["forget_probability"]["value"]
    )


def test_plain_text_without_a_retain_set(recipe: dict, tmp_path: Path) -> None:
    (tmp_path / "book.txt").write_text("Ada was born in a town by the sea. " * 20)
    recipe["data"] = {"forget": str(tmp_path / "book.txt"), "max_length": 32}
    run = expunge.unlearn(recipe, ["objective.retain=none"])
    assert run.state["data"]["format"] == "text"
    assert run.state["data"]["retain"] is None
    assert run.state["data"]["forget"]["n"] == 1  # the whole file, in chunks of 32 tokens
    (tmp_path / "kept.txt").write_text("Gray lives in the hills of the north. " * 20)
    recipe["data"]["retain"] = str(tmp_path / "kept.txt")
    with pytest.raises(InputError, match="Give at least two retain samples; a whole txt file is one"):
        expunge.unlearn(recipe, output=tmp_path / "second")
    assert set(run.metrics["after"]) == {
        "forget_probability", "forget_exact_memorization", "forget_extraction_strength", "forget_perplexity",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("batch_size", "retain", "remedy"),
    [
        (2, "none", r"Lower training\.learning_rate or give a retain loss, and"),
        (8, "none", r"Lower training\.learning_rate or give a retain loss, and"),
        (8, "nll", r"Lower training\.learning_rate, and"),
    ],
)
def test_divergence_before_the_first_epoch_ends_with_a_sentence(
    recipe: dict, batch_size: int, retain: str, remedy: str
) -> None:
    """Seen in the loss of a later step, or, with one step an epoch, only in the evaluation."""
    recipe["training"]["learning_rate"] = 1e30
    with pytest.raises(expunge.RunFailed, match=remedy):
        expunge.unlearn(
            recipe, ["objective=ga", f"objective.retain={retain}", f"training.batch_size={batch_size}"]
        )
    state = read_json(Path(recipe["output"]) / "run.json")
    assert state["state"] == "failed"
    assert not (Path(recipe["output"]) / "adapter").exists()


def test_a_failure_of_something_else_is_recorded_and_gone_on_with(recipe: dict, monkeypatch) -> None:
    """Its kind, not its words, which may quote the data; what is done stays done."""

    def out_of_memory(*_: object, **__: object) -> None:
        raise MemoryError("Who is number 1?")

    with monkeypatch.context() as changed:
        changed.setattr("expunge.run.epochs.build_trainer", out_of_memory)
        with pytest.raises(MemoryError):
            expunge.unlearn(recipe, ["evaluation.generate=never"])
    state = read_json(Path(recipe["output"]) / "run.json")
    assert (state["state"], state["error"]) == ("failed", "MemoryError")
    assert state["phases"]["importance"]["state"] == "done"
    again = expunge.unlearn(recipe, ["evaluation.generate=never"], resume=True)
    assert (again.state["state"], again.state["error"]) == ("done", None)
    assert again.state["phases"]["importance"]["attempts"] == 1


class TestBadInput:
    """Exit code 2, a sentence with the remedy, no traceback, and no run folder."""

    def check(self, capsys, monkeypatch, tmp_path: Path, recipe: dict, sentence: str) -> None:
        file = tmp_path / "recipe.json.yaml"
        file.write_text(json.dumps(recipe))  # JSON is YAML
        monkeypatch.setattr("sys.argv", ["expunge", "run", str(file)])
        with pytest.raises(SystemExit) as exit_:
            main()
        printed = capsys.readouterr()
        assert exit_.value.code == 2
        assert sentence in printed.err
        assert "Traceback" not in printed.err
        assert printed.out == ""
        assert not Path(recipe["output"]).exists()

    @pytest.mark.parametrize(
        ("section", "key", "value", "sentence"),
        [
            ("training", "epoch", 3, "training.epoch: there is no such key. Did you mean 'epochs'?"),
            ("objective", "forget", "npoo", "there is no forget loss 'npoo'. Did you mean 'npo'?"),
            ("adapter", "initialization", "fisher", "Did you mean 'lora_fisher'? Known: absolute, default,"),
            ("data", "forget", "absent.jsonl", "there is no file 'absent.jsonl'"),
            ("data", "answer_column", "reply", "there is no column 'reply'"),
            ("model", "path", "/no/such/model", "there is no folder '/no/such/model'"),
            ("evaluation", "benchmark", "tofu", "tofu needs TOFU's files"),
            ("evaluation", "reference", "/no/such/model", "evaluation.reference: there is no folder"),
            ("adapter", "rank", 40, "40 exceeds the smaller side of"),
            ("importance", "samples", 1, "measures a variance, which 1 forget sample does not have"),
            ("evaluation", "before", "absent.json", "evaluation.before: there is no file 'absent.json'"),
            ("data", "template", "chat", "this tokenizer has no chat template"),
            ("training", "warmup", -5, "a number of steps cannot be negative"),
            (
                "adapter",
                "targets",
                ["q_prj"],
                "'q_prj' is no linear layer of this model. Did you mean 'q_proj'?",
            ),
        ],
    )
    def test_a_wrong_value(
        self, capsys, monkeypatch, tmp_path, recipe, section, key, value, sentence
    ) -> None:
        recipe.setdefault(section, {})[key] = value
        self.check(capsys, monkeypatch, tmp_path, recipe, sentence)

    @pytest.mark.parametrize(
        ("rows", "sentence"),
        [
            ([], "holds no samples"),
            ([{"question": "Who?", "answer": ""}], "row 1: the 'answer' is empty"),
            (
                [{"question": "Who is number 7?", "answer": "SECRET7 of the town by the sea."}],
                "in the retain set",
            ),
        ],
    )
    def test_wrong_data(self, capsys, monkeypatch, tmp_path, recipe, rows, sentence) -> None:
        (tmp_path / "forget.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        recipe["data"]["forget"] = str(tmp_path / "forget.jsonl")
        self.check(capsys, monkeypatch, tmp_path, recipe, sentence)

    def test_a_folder_that_is_no_model(self, capsys, monkeypatch, tmp_path, recipe) -> None:
        (tmp_path / "empty").mkdir()
        recipe["model"]["path"] = str(tmp_path / "empty")
        self.check(capsys, monkeypatch, tmp_path, recipe, "config.json is missing")

    def test_mistakes_in_different_sections_are_named_together(
        self, capsys, monkeypatch, tmp_path, recipe
    ) -> None:
        recipe["model"]["path"] = "/no/such/model"
        recipe["data"]["forget"] = "absent.jsonl"
        self.check(capsys, monkeypatch, tmp_path, recipe, "absent.jsonl")

    def test_a_folder_that_is_taken(self, recipe) -> None:
        output = Path(recipe["output"])
        output.mkdir()
        (output / "thesis.doc").write_text("mine")
        with pytest.raises(InputError, match="not empty and holds no run"):
            expunge.unlearn(recipe)
        assert [entry.name for entry in output.iterdir()] == ["thesis.doc"]

    def test_a_finished_run_is_not_overwritten_nor_resumed_with_another_recipe(self, finished) -> None:
        with pytest.raises(InputError, match="--resume"):
            expunge.unlearn(finished.path / "recipe.yaml", output=finished.path)
        with pytest.raises(InputError, match="the recipe has changed in: seed"):
            expunge.unlearn(finished.path / "recipe.yaml", ["seed=1"], output=finished.path, resume=True)


def test_a_threshold_of_no_metric_is_found_before_importance_and_training_are_paid_for(recipe: dict) -> None:
    changes = ["stopping.rule=thresholds", "stopping.thresholds={forget_probabilty: 0.1}"]
    with pytest.raises(InputError, match="Did you mean 'forget_probability'"):
        expunge.unlearn(recipe, changes)
    assert list(read_json(Path(recipe["output"]) / "run.json")["phases"]) == ["baseline"]


def without_phases(run: expunge.Run, folder: Path, *phases: str) -> dict[str, Any]:
    """Copy a finished run to `folder` as one that has still to do these phases; what its run.json says."""
    shutil.copytree(run.path, folder)
    state = read_json(folder / "run.json")
    for phase in phases:
        del state["phases"][phase]
    write_record(folder / "run.json", state)
    return dict(state)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("run.json", '{"state": "done"', "it cannot be read"),
        ("run.json", "[]", r"it is not the state of a run \(expunge.run/1\)"),
        ("run.json", '{"schema": "expunge.run/1", "state": "done"}', "it lacks phases, model, data,"),
        ("recipe.yaml", None, "it is missing"),
        ("metrics.jsonl", '{"epoch": 1', "it cannot be read"),
    ],
)
def test_a_broken_file_of_a_run_is_named_and_left_as_it_is(
    finished: expunge.Run, tmp_path: Path, name: str, content: str | None, sentence: str
) -> None:
    folder = tmp_path / "run"
    without_phases(finished, folder, "training")
    recipe_text = (folder / "recipe.yaml").read_text(encoding="utf-8")
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content, encoding="utf-8")
    left = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file() and file.name == name}
    asked = tmp_path / "asked.yaml"
    asked.write_text(recipe_text, encoding="utf-8")
    with pytest.raises(InputError, match=sentence) as raised:
        expunge.unlearn(asked, output=folder, resume=True)
    assert raised.value.problems[0].where == str(folder / name)
    assert "another --output" in raised.value.problems[0].remedy
    assert {file: file.read_bytes() for file in left} == left


@pytest.mark.parametrize("phase", ["adapter", "report"])
def test_damaged_importance_of_a_run_is_named(
    finished: expunge.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys, phase: str
) -> None:
    folder = tmp_path / "run"
    without_phases(finished, folder, phase)
    file = folder / "importance.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    command = ["expunge", "run", str(folder / "recipe.yaml"), "--output", str(folder), "--resume"]
    monkeypatch.setattr("sys.argv", command)
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"Error: {file}: it cannot be read: ")
    assert said.endswith("Restore the file, or run the recipe again with another --output.")


CHECKPOINT = [
    "adapter_model.safetensors",
    "optimizer.pt",
    "scheduler.pt",
    "rng_state.pth",
    "trainer_state.json",
]


@pytest.mark.parametrize("name", CHECKPOINT)
def test_training_does_not_go_on_from_half_a_checkpoint(
    finished: expunge.Run, tmp_path: Path, name: str
) -> None:
    """Without it, as the message says, training begins anew and ends in the same weights."""
    folder = tmp_path / "run"
    without_phases(finished, folder, "training", "evaluation", "export", "report")
    for left in ("adapter", "merged", "checkpoints/checkpoint-4"):
        shutil.rmtree(folder / left)
    write_json_lines(folder / "metrics.jsonl", read_json_lines(folder / "metrics.jsonl")[:1])
    checkpoint = folder / "checkpoints" / "checkpoint-2"
    whole = (checkpoint / name).read_bytes()
    for content in (whole[:-30], None):
        (checkpoint / name).unlink()
        if content is not None:
            (checkpoint / name).write_bytes(content)
        with pytest.raises(InputError) as refused:
            expunge.unlearn(folder / "recipe.yaml", output=folder, resume=True)
        (problem,) = refused.value.problems
        assert problem.where == str(checkpoint / name)
        assert problem.reason.startswith("it is missing" if content is None else "it cannot be read: ")
        assert problem.remedy.startswith(f"Delete {checkpoint}: training goes on")
    if name == CHECKPOINT[0]:
        shutil.rmtree(checkpoint)
        run = expunge.unlearn(folder / "recipe.yaml", output=folder, resume=True)
        ours, theirs = (each.adapter / "adapter_model.safetensors" for each in (run, finished))
        assert ours.read_bytes() == theirs.read_bytes()


def test_a_missing_line_and_checkpoint_of_the_chosen_epoch_are_named(
    finished: expunge.Run, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    state = without_phases(finished, folder, "export")
    chosen = folder / "checkpoints" / f"checkpoint-{2 * state['training']['best_epoch']}"
    shutil.rmtree(chosen)
    with pytest.raises(InputError, match="it is missing") as refused:
        expunge.unlearn(folder / "recipe.yaml", output=folder, resume=True)
    assert refused.value.problems[0].where == str(chosen / "adapter_model.safetensors")
    (folder / "metrics.jsonl").unlink()
    with pytest.raises(InputError, match="it has no line of epoch") as refused:
        expunge.unlearn(folder / "recipe.yaml", output=folder, resume=True)
    assert refused.value.problems[0].where == str(folder / "metrics.jsonl")


def test_resuming_a_finished_run_repeats_nothing(finished: expunge.Run, capsys) -> None:
    before = (finished.adapter / "adapter_model.safetensors").stat().st_mtime_ns
    run = expunge.unlearn(finished.path / "recipe.yaml", output=finished.path, resume=True)
    assert capsys.readouterr().err.count("done before") == len(PHASES)
    assert (run.adapter / "adapter_model.safetensors").stat().st_mtime_ns == before


def test_a_before_log_of_the_same_model_is_taken_over(
    finished: expunge.Run, recipe: dict, tmp_path: Path
) -> None:
    recipe["evaluation"]["before"] = str(finished.path / "eval" / "before.json")
    run = expunge.unlearn(recipe)
    assert run.metrics["before"] == finished.metrics["before"]
    log = read_json(finished.path / "eval" / "before.json")
    log["model"]["fingerprint"] = "another"
    (tmp_path / "other.json").write_text(json.dumps(log))
    recipe["evaluation"]["before"] = str(tmp_path / "other.json")
    recipe["output"] = str(tmp_path / "second")
    with pytest.raises(InputError, match="its model is another"):
        expunge.unlearn(recipe)


def test_a_run_gives_the_figures_of_the_chosen_epoch(finished: expunge.Run) -> None:
    best = finished.state["training"]["best_epoch"]
    row = read_json_lines(finished.path / "metrics.jsonl")[best - 1]
    assert finished.score == row["forget_score"] == 1 - row["metrics"]["forget_probability"]["value"]
    assert finished.utility == row["utility"] == row["metrics"]["retain_probability"]["value"]
    assert finished.original_utility == finished.metrics["before"]["retain_probability"]["value"]
    assert finished.state["training"]["utility_metric"] == "retain_probability"


def test_an_earlier_run_gives_the_same(finished: expunge.Run, tmp_path: Path) -> None:
    """Its `run.json` did not say which metric was the utility, and what the rule took its share of."""
    shutil.copytree(finished.path, tmp_path / "run")
    state = read_json(tmp_path / "run" / "run.json")
    del state["training"]["utility_metric"], state["training"]["original_utility"]
    write_record(tmp_path / "run" / "run.json", state)
    old = expunge.Run(tmp_path / "run")
    assert (old.score, old.utility, old.original_utility) == (
        finished.score, finished.utility, finished.original_utility,
    )  # fmt: skip
    assert old.verdict == finished.verdict


def test_a_run_gives_its_verdict_and_what_lies_in_its_folder(finished: expunge.Run) -> None:
    assert finished.verdict.headline in html.unescape(finished.report.read_text())
    assert finished.verdict.utility_kept is None  # of four samples it cannot be said
    assert finished.verdict.against[-1] == "the utility was measured on 4 samples only"
    assert finished.state["verdict"] == finished.verdict.to_json()
    paths = {finished.report, finished.card, finished.adapter, finished.merged, finished.importance}
    assert paths | {finished.evaluation("epoch-2")} <= set(finished.path.rglob("*"))
    assert not finished.assistant.exists()


def test_a_run_gives_the_model_that_was_handed_over(finished: expunge.Run, tmp_path: Path) -> None:
    model = finished.model()
    assert isinstance(model, PeftModel)
    assert not model.training
    ids = torch.arange(1, 30)[None]
    with torch.no_grad():
        merged = AutoModelForCausalLM.from_pretrained(finished.merged)(input_ids=ids).logits
        original = AutoModelForCausalLM.from_pretrained(finished.state["model"]["path"])(input_ids=ids).logits
        found = model(input_ids=ids).logits.cpu()
    torch.testing.assert_close(found, merged, rtol=0, atol=1e-5)
    assert (found - original).abs().max() > 1e-3
    shutil.copytree(finished.path, tmp_path / "run")
    state = read_json(tmp_path / "run" / "run.json")
    del state["phases"]["export"]
    write_record(tmp_path / "run" / "run.json", state)
    with pytest.raises(InputError, match="has not got to its export"):
        expunge.Run(tmp_path / "run").model()
