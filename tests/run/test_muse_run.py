"""A whole run on MUSE: articles are forgotten, and VerbMem, KnowMem and PrivLeak say how well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import expunge
from expunge.benchmarks.muse.benchmark import NEW_TOKENS
from expunge.errors import InputError
from expunge.evaluation.log import read_log
from muse_files import muse_splits, write_muse


@pytest.fixture
def recipe(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    for name in NEW_TOKENS:
        monkeypatch.setitem(NEW_TOKENS, name, 4)  # their length is tested with the benchmark
    data = {
        "format": "muse",
        "path": write_muse(tmp_path / "muse"),
        "forget": "scal/forget_2",
        "max_length": 40,
    }
    return {
        "model": {"path": str(model_folder)},
        "data": data,
        "objective": {"forget": "ga", "retain_weight": 0.0},  # so that a random model forgets something
        "adapter": {"initialization": "factored", "rank": 2, "alpha": 4},
        "training": {"epochs": 1, "batch_size": 8, "micro_batch_size": 8, "learning_rate": 1e-2, "warmup": 0},
        "evaluation": {"reference": str(model_folder), "samples": 2},
        "output": str(tmp_path / "run"),
    }


def test_a_run_measures_what_muse_measures(recipe):
    expunge.unlearn(recipe)
    folder = Path(recipe["output"])
    state = json.loads((folder / "run.json").read_text())
    splits = muse_splits()
    assert state["data"]["format"] == "muse"
    assert state["data"]["forget"]["n"] == len(splits["scal/forget_2"])
    assert state["data"]["retain"]["n"] == len(splits["raw/retain1"])  # nothing is held out of it
    before, after, reference = (state["metrics"][stage] for stage in ("before", "after", "reference"))
    headline = {
        f"{name}_memorization": 2 for name in ("forget_verbatim", "forget_knowledge", "retain_knowledge")
    }
    headline |= {"privacy_leakage": 4, "membership_inference_min_k_plus_plus": 4}
    for stage in (before, after, reference):
        assert {name: stage[name]["n"] for name in headline} == headline
    # The reference is the model before, so nothing tells the two apart.
    assert before["privacy_leakage"]["value"] == reference["privacy_leakage"]["value"] == 0.0
    assert after["forget_verbatim_probability"]["value"] != before["forget_verbatim_probability"]["value"]
    log = read_log(folder / "eval" / "after.json", "muse")
    assert (log.benchmark, log.generated, log.data["path"]) == ("muse", True, recipe["data"]["path"])
    epoch = json.loads((folder / "metrics.jsonl").read_text())
    verbatim, knowledge = (
        after[f"forget_{name}_memorization"]["value"] for name in ("verbatim", "knowledge")
    )
    assert epoch["forget_score"] == pytest.approx(1 - (verbatim + knowledge) / 2)
    assert epoch["utility"] == pytest.approx(after["retain_knowledge_memorization"]["value"])
    # Text has no questions: it is attacked in chunks, against the reference, which here is the model before.
    quantised = state["attacks"]["outcomes"]["quantise"]["variants"]["int8"]["recoveries"]["probability"]
    assert quantised["n"] >= len(splits["scal/forget_2"])
    assert "knew no more of it" in quantised["unresolved"]
    assert "Verbatim memorisation (VerbMem)" in (folder / "report.html").read_text()


def test_a_benchmark_of_other_files_is_refused(recipe):
    recipe["evaluation"]["benchmark"] = "tofu"
    with pytest.raises(InputError, match="tofu needs TOFU's files"):
        expunge.unlearn(recipe)
    recipe["evaluation"]["benchmark"] = "auto"
    recipe["data"]["forgett"] = "raw/forget"
    with pytest.raises(InputError, match=r"data.forgett: there is no such key. Did you mean 'forget'\?"):
        expunge.unlearn(recipe)
