"""`expunge finetune`: models that a recipe can name, made again after a kill, and every mistake said."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from expunge import unlearn
from expunge.adapters.anchor import UNLEARN, adapted_layers
from expunge.cli import main
from expunge.data.encoding import Encoder
from expunge.errors import InputError
from expunge.models.fingerprint import fingerprint
from expunge.run import finetune as module
from expunge.run.finetune import finetune_recipe
from expunge.storage import read_json, read_json_lines, write_json, write_record
from expunge.training.finetune import finetune


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Rounding depends on how many threads share a matrix product."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def quick(recipe: dict[str, Any]) -> dict[str, Any]:
    recipe["training"] |= {"epochs": 2, "batch_size": 8, "micro_batch_size": 8, "learning_rate": 5e-3}
    return recipe


def load(folder: Path) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder)


def same_weights(one: Path, other: Path) -> bool:
    return (one / "model.safetensors").read_bytes() == (other / "model.safetensors").read_bytes()


def test_both_models_serve_a_run_and_differ_in_what_they_saw(
    quick, tmp_path: Path, monkeypatch, capsys
) -> None:
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(quick))
    lines = {}
    for on in ("full", "retain"):
        arguments = ["finetune", str(file), "training.epochs=3", "--on", on, "--output", str(tmp_path / on)]
        monkeypatch.setattr("sys.argv", ["expunge", *arguments])
        main()
        lines[on] = yaml.safe_load(capsys.readouterr().out)
        assert not (tmp_path / f"{on}.finetuning").exists()
    assert lines == {
        "full": {"model": {"path": str(tmp_path / "full")}},
        "retain": {"evaluation": {"reference": str(tmp_path / "retain")}},
    }
    records = {on: read_json(tmp_path / on / "finetune.json") for on in lines}
    # 6 forget and 24 retain samples, 8 a step, 3 epochs
    assert {on: (record["result"]["examples"], record["result"]["steps"]) for on, record in records.items()} == {
        "full": (30, 12), "retain": (24, 9),
    }  # fmt: skip
    for on, record in records.items():
        assert (
            record["result"]["fingerprint"]
            == fingerprint(load(tmp_path / on))
            != record["model"]["fingerprint"]
        )
        assert record["training"]["epochs"] == 3
        assert [row["step"] for row in read_json_lines(tmp_path / on / "steps.jsonl")] == [
            *range(1, record["result"]["steps"] + 1)
        ]
    assert records["full"]["data"]["retain"] == records["retain"]["data"]["retain"]
    assert records["full"]["data"]["forget"]["n"] == 6
    assert "forget" not in records["retain"]["data"]
    for section, content in (*lines["full"].items(), *lines["retain"].items()):
        quick[section] |= content
    run = unlearn(quick, ["training.epochs=1", "adapter.initialization=default"])
    probability = {side: run.metrics[side]["forget_probability"]["value"] for side in ("before", "reference")}
    assert probability["before"] > probability["reference"]


def test_a_lora_is_merged_into_the_checkpoints_own_dtype(quick, tmp_path: Path, monkeypatch) -> None:
    bf16 = tmp_path / "bf16"
    shutil.copytree(quick["model"]["path"], bf16)
    load(bf16).to(torch.bfloat16).save_pretrained(bf16)
    quick["model"]["path"] = str(bf16)
    changes: dict[str, torch.Tensor] = {}

    def remember_changes(model, *arguments, **options):
        steps = finetune(model, *arguments, **options)
        for name, layer in adapted_layers(model).items():
            changes[f"{name}.weight"] = layer.get_delta_weight(UNLEARN).detach().clone()
        return steps

    monkeypatch.setattr(module, "finetune", remember_changes)
    finetune_recipe(quick, on="retain", output=tmp_path / "out", lora=True)
    merged, base = load(tmp_path / "out").state_dict(), load(bf16).state_dict()
    assert "model.layers.0.self_attn.q_proj.weight" in changes
    for name, weight in base.items():
        changed = (weight.float() + changes[name]).bfloat16() if name in changes else weight
        assert torch.equal(merged[name], changed), name
        assert torch.equal(merged[name], weight) != (name in changes), name
    record = read_json(tmp_path / "out" / "finetune.json")
    assert (record["adapter"]["rank"], record["result"]["dtype"]) == (2, "bfloat16")


def test_it_is_gone_on_with_by_the_same_tokenizer_encoding_and_data_alone(
    quick, tmp_path: Path, monkeypatch, capsys
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(quick["model"]["path"], folder)
    quick["model"]["path"] = str(folder)
    quick["training"]["epochs"] = 1

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "finetune", killed)
        with pytest.raises(KeyboardInterrupt):
            finetune_recipe(quick, on="full", output=tmp_path / "out")
    work = tmp_path / "out.finetuning"
    (work / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    (work / "checkpoints" / "checkpoint-1" / "trainer_state.json").write_text("{}")
    record = read_json(work / "finetune.json")

    def refused() -> str:
        with pytest.raises(InputError, match="Resume with what it was started with") as error:
            finetune_recipe(quick, on="full", output=tmp_path / "out", resume=True)
        assert read_json(work / "finetune.json") == record
        return str(error.value)

    with monkeypatch.context() as patch:
        patch.setattr(Encoder, "_ended", lambda self, ids: ids)
        assert "the input has changed in: data.encoded." in refused()
    settings = read_json(folder / "tokenizer_config.json")
    write_json(folder / "tokenizer_config.json", {**settings, "additional_special_tokens": ["!"]})
    assert "the input has changed in: model.tokenizer." in refused()
    write_json(folder / "tokenizer_config.json", settings)
    # A record of version 0.1.0 says neither, and other versions are said.
    del record["data"]["encoded"], record["model"]["tokenizer"]
    write_record(work / "finetune.json", {**record, "versions": {**record["versions"], "torch": "1.0"}})
    shutil.rmtree(work / "checkpoints")
    monkeypatch.setattr(module, "saved_steps", lambda checkpoints: {1: checkpoints})
    finetune_recipe(quick, on="full", output=tmp_path / "out", resume=True)
    changed = f"torch 1.0, now {record['versions']['torch']}"
    assert f"so the last digits may differ: {changed}." in capsys.readouterr().err
    assert read_json(tmp_path / "out" / "finetune.json")["changed_versions"] == [changed]


@pytest.mark.slow
def test_killed_and_resumed_it_is_the_same_model(quick, tmp_path: Path, one_thread) -> None:
    quick["training"]["epochs"] = 10
    file = tmp_path / "recipe.yaml"
    file.write_text(yaml.safe_dump(quick))
    command = [
        sys.executable,
        "-m",
        "expunge",
        "finetune",
        str(file),
        "--on",
        "retain",
        "--output",
        str(tmp_path / "cut"),
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, env={**os.environ, "OMP_NUM_THREADS": "1"})
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("cut.finetuning/checkpoints/checkpoint-*")) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    assert process.poll() is None, process.stderr.read()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "cut").exists()
    with pytest.raises(
        InputError, match=r"cut\.finetuning: a finetuning has left its files there\. Go on with it by"
    ):
        finetune_recipe(file, on="retain", output=tmp_path / "cut")
    with pytest.raises(InputError, match=r"the input has changed in: training, seed\."):
        finetune_recipe(
            file, ["training.epochs=11", "seed=1"], on="retain", output=tmp_path / "cut", resume=True
        )
    finetune_recipe(file, on="retain", output=tmp_path / "cut", resume=True)
    finetune_recipe(file, on="retain", output=tmp_path / "whole")
    assert same_weights(tmp_path / "cut", tmp_path / "whole")
    assert read_json_lines(tmp_path / "cut" / "steps.jsonl") == read_json_lines(
        tmp_path / "whole" / "steps.jsonl"
    )
    before = (tmp_path / "cut" / "finetune.json").read_bytes()
    assert finetune_recipe(file, on="retain", output=tmp_path / "cut", resume=True).path == tmp_path / "cut"
    assert (tmp_path / "cut" / "finetune.json").read_bytes() == before


def test_every_mistake_is_said_before_anything_is_written(quick, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    del quick["data"]["retain"]
    quick["model"] |= {"path": str(tmp_path / "absent"), "quantization": "4bit"}
    with pytest.raises(InputError) as caught:
        finetune_recipe(quick, on="retain", output=tmp_path / "out")
    assert [problem.where for problem in caught.value.problems] == [
        "--output", "model.quantization", "model.path", "data.retain",
    ]  # fmt: skip
    with pytest.raises(InputError, match=r"--on: there is no choice 'retian'\. Did you mean 'retain'"):
        finetune_recipe(quick, on="retian", output=tmp_path / "new")
    quick["model"] = {"path": str(model_folder)}
    with pytest.raises(InputError, match=r"data\.retain: 'self' is what a model writes that knows the data"):
        finetune_recipe(quick, ["data.retain=self"], on="full", output=tmp_path / "new")
    with pytest.raises(InputError, match=r"adapter\.rank: 99 exceeds the smaller side"):
        finetune_recipe(quick, ["adapter.rank=99"], on="full", output=tmp_path / "new", lora=True)
    assert {entry.name for entry in tmp_path.iterdir()} == {"out"}
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "it is missing."),
        ("{", "it cannot be read: "),
        ('{"schema": "expunge.run/1"}', "it is not the record of a finetuning"),
    ],
)
def test_a_broken_record_is_named(quick, tmp_path: Path, content: str | None, reason: str) -> None:
    (tmp_path / "out.finetuning" / "checkpoints" / "checkpoint-1").mkdir(parents=True)
    record = tmp_path / "out.finetuning" / "finetune.json"
    if content is not None:
        record.write_text(content)
    with pytest.raises(InputError) as refused:
        finetune_recipe(quick, on="full", output=tmp_path / "out", resume=True)
    (problem,) = refused.value.problems
    assert problem.where == str(record)
    assert problem.reason.startswith(reason)
