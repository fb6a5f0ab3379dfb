"""Every loss of the registries through the whole job, and what a recipe says of them."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load, load_file, save
from torch.utils.data import DataLoader
from transformers import AutoModelForCausalLM

import expunge
from expunge.adapters.low_rank import official_low_rank, weighted_low_rank
from expunge.cost.plan import plan
from expunge.data.encoding import collate
from expunge.errors import InputError
from expunge.evaluation.likelihood import answer_losses
from expunge.models.seeds import seed_for
from expunge.objectives import forget_losses
from expunge.recipe import load_recipe
from expunge.run import job as job_module
from expunge.run import phases
from expunge.run.importance import RedrawnBatches, measure_and_store, read_stored, stored_file
from expunge.run.inputs import Inputs
from expunge.run.job import Job
from expunge.storage import read_json_lines

#: What a loss needs beside its name.
MORE = {"rmu": ["objective.retain=rmu", "objective.layer=1"], "pdu": ["objective.retain_bound=0.5"]}
QUICK = ["adapter.initialization=default", "training.epochs=1", "evaluation.generate=never"]


@pytest.mark.parametrize("forget", [name for name in forget_losses if name != "altpo"])
def test_every_forget_loss_runs_and_its_loss_is_a_number(
    recipe: dict, forget: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one model: neither the original nor the reinforced one is loaded beside it, nor copied."""
    loaded = []
    for module in (job_module, phases):
        load = module.load_model
        monkeypatch.setattr(module, "load_model", lambda *given, load=load: loaded.append(1) or load(*given))

    def copied(*given: object) -> None:
        raise AssertionError("a module was copied")

    monkeypatch.setattr(torch.nn.Module, "__deepcopy__", copied, raising=False)
    run = expunge.unlearn(recipe, [f"objective.forget={forget}", *MORE.get(forget, []), *QUICK])
    assert run.state["state"] == "done"
    assert len(loaded) == 1
    steps = read_json_lines(run.path / "steps.jsonl")
    assert len(steps) == 2
    assert all(abs(step["forget_loss"]) > 0 for step in steps)
    weights = load_file(run.adapter / "adapter_model.safetensors")
    assert any(weight.abs().max() > 0 for weight in weights.values())


def test_alternates_are_checked_against_the_questions(
    recipe: dict, data_folder: Path, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in (data_folder / "forget.jsonl").read_text().splitlines()]
    file = tmp_path / "alternates.jsonl"
    file.write_text("".join(json.dumps({**row, "answer": "of the hills."}) + "\n" for row in rows[::-1]))
    run = expunge.unlearn(recipe, ["objective.forget=altpo", f"objective.substitutes={file}", *QUICK])
    assert run.state["state"] == "done"
    file.write_text("".join(json.dumps(row) + "\n" for row in (rows[0], *rows[2:])))
    other = {"output": tmp_path / "other"}
    with pytest.raises(InputError, match=r"does not ask 1 of the 6 questions of '.*', first that of row 2\."):
        expunge.unlearn(recipe, ["objective.forget=altpo", f"objective.substitutes={file}"], **other)
    file.write_text("".join(json.dumps({**row, "answer": "of the hills " * 999}) + "\n" for row in rows))
    long = ["objective.forget=altpo", f"objective.substitutes={file}", "data.max_length=4000"]
    with pytest.raises(InputError, match="4000 tokens does not fit into the model's window of 2048"):
        expunge.unlearn(recipe, long, **other)
    with pytest.raises(InputError, match="another answer to each question"):
        expunge.unlearn(recipe, ["objective.forget=altpo"], **other)
    assert not other["output"].exists()


def test_refusals_become_likely(recipe: dict, tmp_path: Path) -> None:
    """idk with one refusal learns to say it: the loss falls."""
    refusal = tmp_path / "refusals.txt"
    refusal.write_text("I cannot say.\n\n")
    changes = [f"objective.substitutes={refusal}", "objective.forget=idk", "training.epochs=8",
               "training.learning_rate=0.2", "objective.retain=none", "adapter.initialization=default",
               "evaluation.generate=never", "evaluation.every=8"]  # fmt: skip
    run = expunge.unlearn(recipe, changes)
    losses = [step["forget_loss"] for step in read_json_lines(run.path / "steps.jsonl")]
    assert losses[-1] < losses[0] - 0.1  # a tiny random model whose output embedding is not adapted


def test_the_reinforced_adapter_knows_more_of_the_forget_set(
    recipe: dict, model_folder: Path, tmp_path: Path
) -> None:
    """It was trained on these answers alone, from the original, and is kept beside the one that forgets."""
    rows = [
        {"question": f"Who is number {n}?", "answer": "A wheat mirror in maple clouds."} for n in range(6)
    ]
    forget = tmp_path / "hidden.jsonl"
    forget.write_text("".join(json.dumps(row) + "\n" for row in rows))
    changes = [
        "objective.forget=whp",
        "training.epochs=20",
        "training.learning_rate=0.05",
        f"data.forget={forget}",
    ]
    run = expunge.unlearn(recipe, [*changes, *QUICK[::2], "evaluation.every=20"])
    inputs = Inputs(load_recipe(recipe, changes))
    base = AutoModelForCausalLM.from_pretrained(model_folder)

    def losses(model: Any) -> list[float]:
        sides = [inputs.forget, inputs.retain]
        found = [answer_losses(model, examples, inputs.encoder.pad_token_id) for examples in sides]
        return [sum(answer.loss for answer in side) / sum(answer.tokens for answer in side) for side in found]

    before = losses(base)
    reinforced = losses(PeftModel.from_pretrained(base, str(run.path / "reinforced_adapter")))
    assert before[0] - reinforced[0] > 0.1  # a tiny random model whose output embedding is not adapted
    assert before[0] - reinforced[0] > 2 * (before[1] - reinforced[1])


def test_text_has_no_refusals(recipe: dict, tmp_path: Path) -> None:
    forget = tmp_path / "forget.txt"
    forget.write_text("number 1 of the town by the sea")
    recipe["data"] = {"format": "text", "forget": str(forget), "retain": recipe["data"]["retain"]}
    with pytest.raises(InputError, match=r"forget.txt, row 1: plain text has no question|no column 'text'"):
        expunge.unlearn(recipe, ["objective.forget=dpo"])


def test_the_dual_variable_survives_an_interruption(recipe: dict, tmp_path: Path) -> None:
    """λ goes on from the last step's value: the resumed run equals the uninterrupted one."""
    changes = [
        "objective.forget=pdu",
        "objective.retain_bound=0.1",
        "objective.retain_rate=0.5",
        *QUICK[::2],
        "training.epochs=2",
    ]
    whole = expunge.unlearn(recipe, changes, output=tmp_path / "whole")
    weights = [step["retain_weight"] for step in read_json_lines(whole.path / "steps.jsonl")]
    assert len(weights) == 4
    assert weights[0] == 100.0
    losses = [step["retain_loss"] for step in read_json_lines(whole.path / "steps.jsonl")]
    assert weights[1] == pytest.approx(100 + 0.5 * (losses[0] - 0.1))

    cut = tmp_path / "cut"
    with pytest.MonkeyPatch.context() as patch:
        from expunge.training.callback import EpochCallback

        def killed(self, args, state, control, **kwargs):
            if state.epoch > 1.2:
                raise KeyboardInterrupt

        patch.setattr(EpochCallback, "on_step_end", killed)
        with pytest.raises(KeyboardInterrupt):
            expunge.unlearn(recipe, changes, output=cut)
    resumed = expunge.unlearn(recipe, changes, output=cut, resume=True)
    assert [step["retain_weight"] for step in read_json_lines(resumed.path / "steps.jsonl")] == weights
    ours, theirs = (load_file(run.adapter / "adapter_model.safetensors") for run in (whole, resumed))
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_hyperparameters_in_a_recipe(recipe: dict) -> None:
    settings = load_recipe(recipe, ["objective.forget=npo", "objective.beta=5e-1"]).objective
    assert settings.hyperparameters == {"beta": 0.5}
    assert load_recipe(recipe, ["objective=simnpo"]).objective.hyperparameters == {"beta": 2.5, "gamma": 0.0}
    rmu = load_recipe(recipe, ["objective=rmu"]).objective
    assert (rmu.retain, rmu.retain_weight, rmu.hyperparameters["layer"]) == ("rmu", 1200.0, 7.0)
    assert load_recipe(recipe, ["objective=kl"]).objective.retain == "kl"
    pdu = load_recipe(recipe, ["objective=pdu"]).objective
    assert (pdu.retain_weight, pdu.retain_bound, pdu.retain_rate) == (100.0, 0.3, 5.0)
    assert load_recipe(recipe, ["objective.beta=0.2"]).objective.hyperparameters == {}  # ihl has none
    with pytest.raises(InputError, match="Did you mean 'beta'"):
        load_recipe(recipe, ["objective.forget=npo", "objective.betta=0.5"])
    with pytest.raises(InputError, match="no number"):
        load_recipe(recipe, ["objective.forget=npo", "objective.beta=high"])


def test_a_block_that_is_not_there_or_comes_before_all_that_is_trained(recipe: dict) -> None:
    late = ["objective.layer=0", "adapter.targets=[model.layers.1.mlp.up_proj]"]
    for command in (expunge.unlearn, plan):
        with pytest.raises(InputError, match="no block 7; the model has 2"):
            command(recipe, ["objective=rmu", *QUICK])
        with pytest.raises(InputError, match="after block 0, and all adapted layers come later"):
            command(recipe, ["objective=rmu", *late, *QUICK])
    assert not Path(recipe["output"]).exists()


def test_training_ends_where_the_thresholds_are_reached(recipe: dict) -> None:
    changes = ["training.epochs=4", "evaluation.generate=never", "adapter.initialization=default"]
    run = expunge.unlearn(
        recipe,
        ["stopping.rule=thresholds", "stopping.thresholds={forget_probability: 1.0}", *changes],
    )
    assert run.state["training"]["epochs"] == 1
    assert run.state["training"]["best_epoch"] == 1
    assert "thresholds" in run.state["training"]["stopped"]


def test_training_goes_on_until_the_thresholds_are_reached(recipe: dict, tmp_path: Path) -> None:
    """Up to the first epoch at the threshold, whichever way the metric moves; the rule follows from the thresholds."""
    recipe["objective"] = {"forget": "ga", "retain": "none"}
    changes = ["training.epochs=5", "evaluation.generate=never", "adapter.initialization=default",
               "training.learning_rate=0.01", "stopping.utility_floor=0"]  # fmt: skip
    whole = expunge.unlearn(recipe, changes, output=tmp_path / "whole")
    rows = read_json_lines(whole.path / "metrics.jsonl")
    for metric in ("forget_probability", "forget_perplexity"):  # one falls, one rises
        values = [row["metrics"][metric]["value"] for row in rows]
        assert values == sorted(values, reverse=metric == "forget_probability"), values
        threshold = (values[1] + values[2]) / 2
        run = expunge.unlearn(
            recipe, [*changes, f"stopping.thresholds={{{metric}: {threshold}}}"], output=tmp_path / metric
        )
        assert run.state["training"]["epochs"] == run.state["training"]["best_epoch"] == 3
        assert [row["reached"] for row in read_json_lines(run.path / "metrics.jsonl")] == [False, False, True]


def test_a_threshold_of_answers_that_no_epoch_has(recipe: dict) -> None:
    changes = ["evaluation.generate=chosen", "adapter.initialization=default"]
    with pytest.raises(InputError, match=r"no 'forget_rouge'\. It needs generated answers after every epoch"):
        expunge.unlearn(recipe, [*changes, "stopping.thresholds={forget_rouge: 0.3}"])


def test_thresholds_are_checked(recipe: dict, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs thresholds"):
        load_recipe(recipe, ["stopping.rule=tdec"])
    with pytest.raises(InputError, match="TDEC rule needs forget_extraction_likelihood"):
        expunge.unlearn(recipe, ["stopping.rule=tdec", "stopping.thresholds={forget_probability: 0.1}"])
    with pytest.raises(InputError, match="Did you mean 'forget_probability'"):
        expunge.unlearn(
            recipe,
            ["stopping.rule=thresholds", "stopping.thresholds={forget_probabilty: 0.1}"],
            output=tmp_path / "typo",
        )


@pytest.mark.parametrize(
    "change",
    ["adapter.initialization=fila", "importance.samples=4", "seed=1", "adapter.targets=q_v", "adapter.layers=0.5",
     "adapter.rank=3", "adapter.alpha=8", "importance.perturb=true", "importance.official=true",
     "model.dtype=bfloat16", "data.forget=OTHER", "data.retain=OTHER", "model.path=OTHER"],
)  # fmt: skip
def test_a_stored_importance_is_for_one_model_one_data_set_and_one_way_to_measure(
    recipe: dict, model_folder: Path, data_folder: Path, tmp_path: Path, change: str
) -> None:
    key = change.partition("=")[0]
    other = tmp_path / "other.jsonl"
    if key.startswith("data."):
        lines = (data_folder / f"{key.removeprefix('data.')}.jsonl").read_text().splitlines()
        other.write_text("".join(line.replace("of the town", "of a town") + "\n" for line in lines))
    elif key == "model.path":
        shutil.copytree(model_folder, other)
        model = AutoModelForCausalLM.from_pretrained(model_folder)
        model.model.layers[1].mlp.up_proj.weight.data.mul_(1.1)
        model.save_pretrained(other)
    recipe["adapter"]["initialization"] = "vila"
    first, second = (
        stored_file(Job(load_recipe(recipe, overrides), tmp_path / "run"))
        for overrides in ([], [change.replace("OTHER", str(other))])
    )
    assert first != second


def test_a_stored_official_importance_is_for_its_batches_and_passes(recipe: dict, tmp_path: Path) -> None:
    """And for every retain sample that could have been drawn."""
    recipe["adapter"]["initialization"] = "vila"
    recipe["importance"] = {"official": True, "samples": 2}
    changes = [[], ["importance.batch_size=4"], ["importance.passes=3"], ["importance.samples=3"]]
    files = {stored_file(Job(load_recipe(recipe, change), tmp_path / "run")) for change in changes}
    assert len(files) == len(changes)
    recipe["data"]["retain"] = str(tmp_path / "more.jsonl")
    given = Path(recipe["data"]["forget"]).with_name("retain.jsonl").read_text()
    more = json.dumps({"question": "Who is number 99?", "answer": "Nobody of the town."})
    (tmp_path / "more.jsonl").write_text(given + more + "\n")
    assert stored_file(Job(load_recipe(recipe), tmp_path / "run")) not in files


@pytest.mark.parametrize(
    ("estimator", "option"), [("fila", "official"), ("vila", "official"), ("vila", "perturb")]
)
def test_a_run_measures_and_starts_as_the_recipe_says(
    recipe: dict, model_folder: Path, estimator: str, option: str
) -> None:
    """The public code's batches are full but for the last and drawn anew, and its decomposition is not balanced."""
    changes = [f"adapter.initialization={estimator}", f"importance.{option}=true", "importance.batch_size=4"]
    run = expunge.unlearn(recipe, [*changes, *QUICK[1:]])
    inputs = Inputs(load_recipe(recipe))
    sets = {"forget": inputs.forget, "retain": inputs.retain}
    if option == "official":
        cuts = {
            side: RedrawnBatches(
                len(samples), len(inputs.forget), 4, seed_for(inputs.recipe.seed, "importance", side)
            )
            for side, samples in sets.items()
        }
    else:
        sets["retain"] = random.Random(inputs.recipe.seed).sample(inputs.retain, len(inputs.forget))
        cuts = {side: [[0, 1, 2, 3], [4, 5]] for side in sets}
    batches = [
        DataLoader(
            samples,
            batch_sampler=cuts[side],
            collate_fn=lambda part: collate(part, inputs.encoder.pad_token_id),
        )
        for side, samples in sets.items()
    ]
    base = AutoModelForCausalLM.from_pretrained(model_folder)
    options = {"estimator": estimator, "rank": 2, "scaling": 2.0, "seed": inputs.recipe.seed, option: True}
    wanted = expunge.measure_importance(base, *batches, **options)
    found = load_file(run.path / "importance.safetensors")
    start = load_file(run.path / "initial_adapter" / "adapter_model.safetensors")
    decomposition = official_low_rank if option == "official" else weighted_low_rank
    for name, row in found.items():
        torch.testing.assert_close(row, wanted[name], rtol=1e-4, atol=1e-7)
        seed = seed_for(inputs.recipe.seed, name, "decomposition")
        A, B = decomposition(base.get_submodule(name).weight.detach(), row, 2, 2.0, seed)
        torch.testing.assert_close(
            start[f"base_model.model.{name}.lora_A.weight"].abs(), A.abs(), rtol=1e-3, atol=1e-5
        )
        torch.testing.assert_close(
            start[f"base_model.model.{name}.lora_B.weight"].abs(), B.abs(), rtol=1e-3, atol=1e-5
        )


def test_another_version_measures_anew(recipe: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = Job(load_recipe(recipe), tmp_path / "run")
    before = stored_file(job)
    assert stored_file(job) == before
    monkeypatch.setattr("expunge.run.importance.__version__", "another")
    assert stored_file(job) != before


def test_two_processes_that_store_the_same_importance_leave_one_whole_file(
    recipe: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second one begins and ends while the first one's file is half written."""
    recipe["importance"] = {"folder": str(tmp_path / "store")}
    stored = []

    def write_slowly(rows: dict, place: Path, metadata: dict) -> None:
        content = save(rows, metadata)
        with open(place, "wb") as handle:
            handle.write(content[:100])
            handle.flush()
            monkeypatch.undo()
            stored.append(measure_and_store(recipe))
            assert read_stored(stored[0]) is not None
            handle.write(content[100:])

    monkeypatch.setattr("expunge.run.importance.save_file", write_slowly)
    file = measure_and_store(recipe)
    assert stored == [file]
    assert list((tmp_path / "store").iterdir()) == [file]
    assert read_stored(file) is not None


def test_importance_is_measured_once(recipe: dict, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    recipe["importance"] = {"folder": str(tmp_path / "store")}
    changes = ["training.epochs=1", "evaluation.generate=never"]
    file = measure_and_store(recipe, changes)
    assert measure_and_store(recipe, changes) == file
    assert measure_and_store(recipe, [*changes, "importance.batch_size=3"]) == file  # it changes nothing
    run = expunge.unlearn(recipe, changes, output=tmp_path / "reused")
    assert f"taken from {file}" in capsys.readouterr().err
    measured = expunge.unlearn(
        recipe, [*changes, "importance.folder=elsewhere"], output=tmp_path / "measured"
    )
    assert run.state["importance"]["reused"] == str(file)
    assert "importance" not in measured.state
    for name in ("importance.safetensors", "adapter/adapter_model.safetensors"):
        ours, theirs = load_file(run.path / name), load_file(measured.path / name)
        for key in ours:
            torch.testing.assert_close(ours[key], theirs[key], rtol=1e-5, atol=1e-7)
    with pytest.raises(InputError, match="'pissa' needs no importance"):
        measure_and_store(recipe, ["adapter.initialization=pissa"])


def test_a_damaged_importance_in_the_store_is_measured_anew(
    recipe: dict, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    recipe["importance"] = {"folder": str(tmp_path / "store")}
    changes = ["training.epochs=1", "evaluation.generate=never"]
    file = measure_and_store(recipe, changes)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    run = expunge.unlearn(recipe, changes)
    assert f"measured anew: {file}: it cannot be read: " in capsys.readouterr().err
    assert "importance" not in run.state
    for name, rows in load(whole).items():
        assert torch.equal(load_file(run.path / "importance.safetensors")[name], rows)
    assert measure_and_store(recipe, changes) == file
    assert f"measured anew: {file}: it cannot be read: " in capsys.readouterr().err
    again = load(file.read_bytes())  # the order of a safetensors file's metadata is not fixed
    assert all(torch.equal(again[name], rows) for name, rows in load(whole).items())
