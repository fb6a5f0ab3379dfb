"""The Training Data Extraction Challenge from the recipe to the report."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import expunge
from expunge.cost.plan import plan
from expunge.errors import InputError
from expunge.recipe import load_recipe
from expunge.run.job import Job
from expunge.storage import read_json, read_json_lines, write_json
from tdec_files import random_sequences, write_tdec

VOCABULARY = 250


@pytest.fixture
def tdec_recipe(recipe: dict, tmp_path: Path) -> dict:
    """Two sets of two sequences, of which the second is to be forgotten, and twelve paragraphs."""
    write_tdec(tmp_path / "tdec", random_sequences(4, VOCABULARY))
    (tmp_path / "wiki.txt").write_text("\n\n".join(f"Paragraph {n} of the text to keep ." for n in range(12)))
    data = {"format": "tdec", "path": str(tmp_path / "tdec"), "forget": 1, "sequences": 2,
            "retain": str(tmp_path / "wiki.txt")}  # fmt: skip
    training = {**recipe["training"], "batch_size": 2, "micro_batch_size": 2, "epochs": 1}
    recipe["objective"] = {"forget": "ga", "retain_weight": 0.0}  # so that a random model forgets something
    return {**recipe, "data": data, "training": training, "evaluation": {"samples": 1}}


def test_the_sequences_are_trained_on_as_they_are(tdec_recipe: dict, tmp_path: Path) -> None:
    job = Job(load_recipe(tdec_recipe), tmp_path / "job")
    wanted = random_sequences(4, VOCABULARY)[2:].tolist()
    assert [example.input_ids for example in job.forget] == wanted
    assert all(example.label_count == 199 for example in job.forget)
    assert [example.input_ids for example in job.benchmark.sets["forget"]] == wanted[:1]
    assert len(job.retain) == 11  # one of the twelve paragraphs is measured, and only measured
    assert job.benchmark.sets["retain"][0].input_ids not in [example.input_ids for example in job.retain]


def test_a_run_from_the_recipe_to_the_report(tdec_recipe: dict, tmp_path: Path) -> None:
    texts = [f"{name} lives in the town by the sea" for name in ("Ada", "Bertil", "Cyra", "Dorotea")]
    (tmp_path / "sequences.csv").write_text("\n".join(["text", *texts]) + "\n")
    tdec_recipe["data"]["path"] = str(tmp_path / "sequences.csv")
    run = expunge.unlearn(tdec_recipe, output=tmp_path / "run")
    assert run.state["data"]["format"] == "tdec"
    assert run.state["data"]["forget"]["n"] == 2
    log = read_json(run.path / "eval" / "after.json")
    assert log["benchmark"] == "tdec"
    (record,) = log["sets"]["forget"]
    likelihood = run.metrics["after"]["forget_extraction_likelihood"]["value"]
    assert likelihood == record["scores"]["extraction_likelihood"]
    before, after = (run.metrics[side]["forget_perplexity"]["value"] for side in ("before", "after"))
    assert after > before
    (epoch,) = [row for row in (run.path / "metrics.jsonl").read_text().splitlines() if row]
    assert '"forget_memorization_accuracy"' in epoch
    report = run.report.read_text()
    assert "memorisation accuracy (MA)" in report
    assert "extraction likelihood (EL₁₀)" in report


def test_validate_and_what_is_wrong_with_the_recipe(tdec_recipe: dict) -> None:
    found = plan(tdec_recipe)
    assert (found["format"], found["forget_samples"], found["retain_samples"]) == ("tdec", 2, 12)
    with pytest.raises(InputError, match=r"data\.path: .* have no forget set 2 of 2"):
        plan(tdec_recipe, ["data.forget=2"])
    with pytest.raises(InputError) as caught:
        plan({**tdec_recipe, "data": {**tdec_recipe["data"], "sequence": 3}})
    assert "data.sequence: there is no such key. Did you mean 'sequences'?" in str(caught.value)
    own = {"forget": tdec_recipe["data"]["retain"], "format": "text"}
    with pytest.raises(InputError, match="tdec needs TDEC's files"):
        plan({**tdec_recipe, "data": own, "objective": "ga", "evaluation": {"benchmark": "tdec"}})


def test_the_tdec_rule_ends_the_training_at_the_calibrated_thresholds(
    tdec_recipe: dict, tmp_path: Path
) -> None:
    """Both, from the file that `expunge eval --calibrate` writes; reached first in a later epoch.

    A model whose output embedding is its input embedding says every token again, so it has such sequences by heart.
    """
    model = AutoModelForCausalLM.from_pretrained(tdec_recipe["model"]["path"])
    model.lm_head.weight.data = 8 * model.get_input_embeddings().weight.detach().clone()
    model.save_pretrained(tmp_path / "model")
    AutoTokenizer.from_pretrained(tdec_recipe["model"]["path"]).save_pretrained(tmp_path / "model")
    tdec_recipe["model"] = {"path": str(tmp_path / "model")}
    write_tdec(tmp_path / "tdec", np.repeat(random_sequences(4, VOCABULARY)[:, :10], 20, axis=1))
    tdec_recipe["objective"] = {"forget": "ga", "retain": "none"}
    changes = ["training.epochs=6", "adapter.initialization=default", "training.learning_rate=0.05",
               "stopping.utility_floor=0"]  # fmt: skip
    whole = expunge.unlearn(tdec_recipe, changes, output=tmp_path / "whole")
    rows = read_json_lines(whole.path / "metrics.jsonl")
    falling = [row["metrics"]["forget_memorization_accuracy"]["value"] for row in rows]
    assert falling == sorted(falling, reverse=True)
    assert falling[0] > falling[-1]
    wanted = next(number for number, value in enumerate(falling, start=1) if value < falling[0])
    thresholds = {"forget_memorization_accuracy": falling[wanted - 1], "forget_extraction_likelihood": 1.0}
    write_json(tmp_path / "thresholds.json", {"schema": "expunge.thresholds/1", "thresholds": thresholds})
    stopping = ["stopping.rule=tdec", f"stopping.thresholds={tmp_path / 'thresholds.json'}"]
    run = expunge.unlearn(tdec_recipe, [*changes, *stopping], output=tmp_path / "run")
    assert run.state["training"]["epochs"] == run.state["training"]["best_epoch"] == wanted > 1
