"""What `accelerate launch` may ask for: what is not supported is refused before torch is loaded."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file

from expunge.errors import InputError
from expunge.evaluation.gradient_norm import gradient_norms
from expunge.models import processes
from expunge.models.launch import check_launch, shards_base
from expunge.recipe import load_recipe
from expunge.run.checks import check_inputs
from small_recipe import small_recipe

CONFIGURATIONS = Path(__file__).parents[2] / "examples" / "accelerate"
FSDP2 = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2"}


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    shards_base.cache_clear()
    yield
    shards_base.cache_clear()


def launched(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    """The problems that `check_launch` finds."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    try:
        check_launch()
    except InputError as error:
        return [problem.reason for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("environment", "reasons"),
    [
        ({}, []),
        ({"ACCELERATE_MIXED_PRECISION": "bf16", "ACCELERATE_USE_CPU": "True"}, []),
        (FSDP2, []),
        ({"FSDP_VERSION": "1"}, []),  # left over where FSDP is not asked for
        ({**FSDP2, "FSDP_VERSION": "1"}, ["FSDP1 is not supported (FSDP_VERSION=1)."]),
        (
            {**FSDP2, "FSDP_OFFLOAD_PARAMS": "true", "FSDP_ACTIVATION_CHECKPOINTING": "true"},
            [
                "weights that FSDP keeps on the CPU are not supported (FSDP_OFFLOAD_PARAMS=true).",
                "what is recomputed is for the recipe to say (FSDP_ACTIVATION_CHECKPOINTING=true).",
            ],
        ),
        (
            {"ACCELERATE_USE_DEEPSPEED": "true"},
            ["DeepSpeed is not supported (ACCELERATE_USE_DEEPSPEED=true)."],
        ),
        (
            {"ACCELERATE_USE_MEGATRON_LM": "true"},
            ["Megatron-LM is not supported (ACCELERATE_USE_MEGATRON_LM=true)."],
        ),
        ({"PARALLELISM_CONFIG_TP_SIZE": "2"}, ["PARALLELISM_CONFIG_TP_SIZE=2 is not supported."]),
        ({**FSDP2, "PARALLELISM_CONFIG_DP_SHARD_SIZE": "2"}, []),
    ],
)
def test_what_is_refused(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], reasons: list[str]
) -> None:
    assert launched(monkeypatch, **environment) == reasons


def test_nobody_else_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """transformers and accelerate look at the same variable."""
    assert launched(monkeypatch, **FSDP2) == []
    assert shards_base()
    assert "ACCELERATE_USE_FSDP" not in os.environ


def test_a_command_refuses_before_it_loads_torch() -> None:
    script = "import sys\nfrom expunge.cli import main\ntry:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    environment = {**os.environ, "ACCELERATE_USE_DEEPSPEED": "true"}
    command = [sys.executable, "-c", script, "run", "recipe.yaml"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert (ended.returncode, ended.stdout) == (2, "False\n")
    assert ended.stderr.startswith("Error: accelerate launch: DeepSpeed is not supported")


@pytest.mark.parametrize(
    ("section", "settings", "reason"),
    [
        ("method", {"name": "task_arithmetic"}, "the method 'task_arithmetic' cannot run"),
        ("export", ["adapter", "merged"], "the export 'merged', for which one process needs all weights"),
        ("attacks", {"budget": "cheap"}, "attacks, which change the weights"),
        ("importance", {"official": True}, "importance.official, whose batches depend on the processes"),
        ("model", {"quantization": "4bit"}, "model.quantization is not possible"),
    ],
)
def test_what_a_shared_base_cannot_do(
    monkeypatch: pytest.MonkeyPatch,
    model_folder: Path,
    data_folder: Path,
    section: str,
    settings: object,
    reason: str,
) -> None:
    monkeypatch.setattr(processes, "shards", lambda: True)
    recipe = small_recipe(model_folder, data_folder)
    check_inputs(load_recipe(recipe))
    if section == "importance":
        recipe["adapter"]["initialization"] = "vila"
    if section == "method":
        del recipe["adapter"]
    if settings == {"holdout": "retain.jsonl"}:
        settings = {"holdout": str(data_folder / "retain.jsonl")}
    given = recipe.get(section, {})
    recipe[section] = {**given, **settings} if isinstance(settings, dict) else settings
    with pytest.raises(InputError) as refused:
        check_inputs(load_recipe(recipe))
    problems = [problem for problem in refused.value.problems if problem.where == "accelerate launch"]
    assert [problem.reason.startswith(reason) for problem in problems] == [True]


def test_gradients_of_a_shared_base_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "shards", lambda: True)
    with pytest.raises(InputError, match="gradient norms cannot be measured on a base that FSDP shards"):
        gradient_norms(None, [], 0)


@pytest.mark.parametrize("file", sorted(CONFIGURATIONS.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_shipped_configurations_are_accelerates(file: Path) -> None:
    """accelerate refuses a key that it does not know."""
    configuration = load_config_from_file(str(file))
    content = yaml.safe_load(file.read_text())
    assert configuration.num_processes == content["num_processes"] > 1
    sharded = content["distributed_type"] == "FSDP"
    assert (content.get("fsdp_config", {}).get("fsdp_version") == 2) == sharded
