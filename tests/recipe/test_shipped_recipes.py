"""The shipped recipes and every command of docs/papers*.md: parsed, and run dry on the meta device.

The numbers that they are held against are written down here a second time: the sizes of the models as published, the
papers' hyper-parameters, and the rows of their tables.
"""

from __future__ import annotations

import itertools
import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
import yaml
from paper_index import Command, commands

from expunge.adapters.attach import attach_adapter
from expunge.benchmarks.registry import benchmarks
from expunge.cli import app, main
from expunge.cost.plan import plan
from expunge.errors import InputError
from expunge.methods import method_of
from expunge.models.linear import layer_kind, matrix_shape
from expunge.models.loading import empty_model
from expunge.models.settings import Model
from expunge.recipe import Recipe, load_recipe
from expunge.recipe.requests import Requests, load_requests
from expunge.recipe.shipped import copy_recipe, shipped_recipe, shipped_recipes
from expunge.run.checks import check_adapter

_LLAMA: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 11008,
    "num_hidden_layers": 32, "num_attention_heads": 32, "tie_word_embeddings": False,
}  # fmt: skip
_PHI: dict[str, Any] = {
    "model_type": "phi", "vocab_size": 51200, "hidden_size": 2048, "intermediate_size": 8192,
    "num_hidden_layers": 24, "num_attention_heads": 32, "tie_word_embeddings": False,
}  # fmt: skip
_MISTRAL: dict[str, Any] = {
    "model_type": "mistral", "vocab_size": 32000, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "tie_word_embeddings": False,
}  # fmt: skip


def _gpt_neo(hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "model_type": "gpt_neo", "vocab_size": 50257, "hidden_size": hidden, "num_layers": layers, "num_heads": heads,
        "attention_types": [[["global", "local"], layers // 2]], "max_position_embeddings": 2048,
    }  # fmt: skip


#: The model of a recipe, by the third part of its name: configuration, and how many parameters it has as published.
MODELS = {
    "llama-2-7b": (_LLAMA, 6_738_415_616),
    "iclm-7b": (_LLAMA, 6_738_415_616),
    "phi-1.5": (_PHI, 1_418_270_720),
    "zephyr-7b-beta": (_MISTRAL, 7_241_732_096),
    "gpt-neo-125m": (_gpt_neo(768, 12, 12), 125_198_592),
    "gpt-neo-1.3b": (_gpt_neo(2048, 24, 16), 1_315_575_808),
    "gpt-neo-2.7b": (_gpt_neo(2560, 32, 20), 2_651_307_520),
}

#: Sum of d_out + d_in over the adapted layers of one block: rank times that, times the blocks, is what is trained.
WIDTHS = {
    ("llama-2-7b", "all-linear"): 4 * (4096 + 4096) + 3 * (4096 + 11008),
    ("iclm-7b", "all-linear"): 4 * (4096 + 4096) + 3 * (4096 + 11008),
    ("phi-1.5", "all-linear"): 4 * (2048 + 2048) + 2 * (2048 + 8192),
    # Mistral's 8 key and value heads of 128 make 1,024 rows
    ("zephyr-7b-beta", "all-linear"): 2 * (4096 + 4096) + 2 * (4096 + 1024) + 3 * (4096 + 14336),
    ("gpt-neo-125m", "q_v"): 2 * (768 + 768),
    ("gpt-neo-125m", "qkvo"): 4 * (768 + 768),
    ("gpt-neo-125m", "ffn"): 2 * (768 + 3072),
    ("gpt-neo-125m", "q_v_ffn"): 2 * (768 + 768) + 2 * (768 + 3072),
    ("gpt-neo-1.3b", "q_v_ffn"): 2 * (2048 + 2048) + 2 * (2048 + 8192),
    ("gpt-neo-2.7b", "q_v_ffn"): 2 * (2560 + 2560) + 2 * (2560 + 10240),
}
BLOCKS = {
    "llama-2-7b": 32, "iclm-7b": 32, "phi-1.5": 24, "zephyr-7b-beta": 32,
    "gpt-neo-125m": 12, "gpt-neo-1.3b": 24, "gpt-neo-2.7b": 32,
}  # fmt: skip

#: A query projection in each model: its name in the block, and (d_out, d_in).
QUERIES = {
    "llama-2-7b": ("self_attn.q_proj", (4096, 4096)),
    "iclm-7b": ("self_attn.q_proj", (4096, 4096)),
    "phi-1.5": ("self_attn.q_proj", (2048, 2048)),
    "zephyr-7b-beta": ("self_attn.q_proj", (4096, 4096)),
    "gpt-neo-125m": ("attn.attention.q_proj", (768, 768)),
    "gpt-neo-1.3b": ("attn.attention.q_proj", (2048, 2048)),
    "gpt-neo-2.7b": ("attn.attention.q_proj", (2560, 2560)),
}
FORGET_SAMPLES = {"forget01": 40, "forget05": 200, "forget10": 400}
#: Steps of 32 in five epochs, a smaller last batch counted: 5 · 2, 5 · 7, 5 · 13.
TOFU_STEPS = {"forget01": 10, "forget05": 35, "forget10": 65}

RUNS = [command for command in commands() if command.words[0] == "run"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Name of a recipe → its model on the meta device, from a configuration file as `from_pretrained` reads it."""

    @cache
    def make(size: str) -> Any:
        folder = tmp_path_factory.mktemp(size)
        (folder / "config.json").write_text(json.dumps(MODELS[size][0]))
        return empty_model(Model(path=str(folder)))

    return lambda name: make(size_of(name))


def size_of(name: str) -> str:
    return name.split("/")[2]


@cache
def content(name: str) -> dict[str, Any]:
    """The recipe's YAML, read once: reading it for each of some 700 commands would take most of the time."""
    return yaml.safe_load(shipped_recipe(name).text)


@cache
def resolved(command: Command) -> Recipe:
    """The recipe of a command; of several requests, that of the first."""
    found = load_requests(content(command.recipe), command.overrides)
    return found.whole if isinstance(found, Requests) else found


def trained(recipe: Recipe, model: Any) -> int:
    """Parameters of the adapter, from the shapes of the layers that the recipe means."""
    layers = check_adapter(model, recipe).values()
    return recipe.adapter.rank * sum(sum(matrix_shape(module)) for module in layers)


def expected(recipe: Recipe, name: str) -> int:
    size, adapter = size_of(name), recipe.adapter
    return round(adapter.rank * WIDTHS[size, str(adapter.targets)] * BLOCKS[size] * adapter.layers)


@pytest.mark.parametrize("name", sorted(shipped_recipes()))
def test_a_shipped_recipe_fits_its_model(name: str, model: Any) -> None:
    """PEFT makes on the meta device what the shapes say, and the shapes are those of the published model."""
    recipe, empty = load_recipe(name), model(name)
    assert sum(parameter.numel() for parameter in empty.parameters()) == MODELS[size_of(name)][1]
    kind, shape = QUERIES[size_of(name)]
    layers = check_adapter(empty, recipe).items()
    assert {layer_kind(layer): matrix_shape(module) for layer, module in layers}[kind] == shape
    assert trained(recipe, empty) == expected(recipe, name)
    assert recipe.run_name == name.replace("/", "-")


def test_parameters_that_are_trained(model: Any) -> None:
    """8 · (4 · 8,192 + 3 · 15,104) · 32 for VILA on Llama-2-7B, and likewise."""
    found = {name: trained(load_recipe(name), model(name)) for name in shipped_recipes()}
    assert found["vila/tofu/llama-2-7b/ihl"] == 19_988_480
    assert found["vila/tofu/phi-1.5/gd"] == 7_077_888
    assert found["vila/wmdp/zephyr-7b-beta/npo"] == 20_971_520
    assert found["vila/muse/iclm-7b"] == 39_976_960
    assert found["loku/tdec/gpt-neo-125m"] == 2_064_384


def test_the_share_of_parameters_is_the_one_in_table_1(model: Any) -> None:
    """LoKU, table 1, column "Params. (%)" of the rows with LoRA."""
    shares = {}
    for size in ("gpt-neo-125m", "gpt-neo-1.3b", "gpt-neo-2.7b"):
        name = f"loku/tdec/{size}"
        shares[size] = trained(load_recipe(name), model(name)) / MODELS[size][1]
    assert {size: round(100 * share, 1) for size, share in shares.items()} == {
        "gpt-neo-125m": 1.6, "gpt-neo-1.3b": 0.8, "gpt-neo-2.7b": 0.7,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["vila/tofu/phi-1.5/ihl", "loku/tdec/gpt-neo-125m"])
def test_peft_makes_what_the_shapes_say(name: str, tmp_path: Path) -> None:
    recipe = load_recipe(name)
    (tmp_path / "config.json").write_text(json.dumps(MODELS[size_of(name)][0]))
    empty = empty_model(Model(path=str(tmp_path)))
    with torch.device("meta"):
        adapted = attach_adapter(
            empty, rank=recipe.adapter.rank, alpha=recipe.adapter.alpha, targets=recipe.adapter.targets
        )
    factors = [parameter for parameter in adapted.parameters() if parameter.requires_grad]
    assert sum(parameter.numel() for parameter in factors) == expected(recipe, name)
    assert {parameter.device.type for parameter in factors} == {"meta"}


@pytest.mark.parametrize(
    ("name", "rate", "epochs", "batch", "rank", "decay", "schedule", "weight"),
    [
        ("loku/tofu/phi-1.5", 2e-4, 5, 32, 8, 0.01, "linear", 1.0),
        ("loku/tofu/llama-2-7b", 1e-4, 5, 32, 8, 0.01, "linear", 1.0),
        ("loku/tdec/gpt-neo-125m", 2e-4, 20, 32, 16, 0.01, "constant", 1.0),
        ("loku/tdec/gpt-neo-1.3b", 2e-4, 20, 32, 16, 0.01, "constant", 1.0),
        ("loku/tdec/gpt-neo-2.7b", 2e-4, 20, 32, 16, 0.01, "constant", 1.0),
        ("vila/tofu/llama-2-7b/gd", 5e-5, 5, 32, 8, 0.01, "linear", 1.6),
        ("vila/tofu/llama-2-7b/ihl", 1e-4, 5, 32, 8, 0.01, "linear", 1.3),
        ("vila/tofu/llama-2-7b/npo", 1e-4, 5, 32, 8, 0.01, "linear", 1.5),
        ("vila/tofu/phi-1.5/gd", 7e-5, 5, 32, 8, 0.01, "linear", 1.1),
        ("vila/tofu/phi-1.5/ihl", 1e-4, 5, 32, 8, 0.01, "linear", 0.8),
        ("vila/tofu/phi-1.5/npo", 5e-5, 5, 32, 8, 0.01, "linear", 1.8),
        ("vila/wmdp/zephyr-7b-beta/gd", 8e-5, 1, 4, 8, 0.0, "linear", 1.6),
        ("vila/wmdp/zephyr-7b-beta/ihl", 3e-5, 1, 4, 8, 0.0, "linear", 1.0),
        ("vila/wmdp/zephyr-7b-beta/npo", 1e-5, 1, 4, 8, 0.0, "linear", 1.1),
        ("vila/muse/iclm-7b", 1e-4, 5, 32, 16, 0.0, "constant", 1.0),
    ],
)
def test_hyperparameters(
    name: str, rate: float, epochs: int, batch: int, rank: int, decay: float, schedule: str, weight: float
) -> None:
    recipe = load_recipe(name)
    training = recipe.training
    assert (training.learning_rate, training.epochs, training.batch_size) == (rate, epochs, batch)
    assert (training.weight_decay, training.schedule) == (decay, schedule)
    assert (recipe.adapter.rank, recipe.adapter.alpha) == (rank, 2 * rank)
    assert recipe.objective.retain_weight == weight
    assert training.learning_rate_scale == "none"  # the published rates are for factors as they come


def test_the_papers_recipes_rest_on_no_default_of_the_adapter_and_of_the_evaluation() -> None:
    """The start, rank and α of the papers stand in the files; every epoch is a candidate, as in the papers."""
    starts = {}
    for name, shipped in shipped_recipes().items():
        written = yaml.safe_load(shipped.path.read_text())["adapter"]
        starts[name] = (written["initialization"], written["rank"], written["alpha"])
        recipe = load_recipe(name)
        assert (recipe.adapter.initialization, recipe.adapter.rank, recipe.adapter.alpha) == starts[name]
        assert isinstance(recipe.training.epochs, int)
        assert recipe.epochs_between_evaluations(recipe.training.epochs) == 1
    assert starts == {
        "loku/tofu/phi-1.5": ("fila", 8, 16),
        "loku/tofu/llama-2-7b": ("fila", 8, 16),
        "loku/tdec/gpt-neo-125m": ("fila", 16, 32),
        "loku/tdec/gpt-neo-1.3b": ("fila", 16, 32),
        "loku/tdec/gpt-neo-2.7b": ("fila", 16, 32),
        **{
            f"vila/{model}/{loss}": ("vila", 8, 16)
            for model in ("tofu/llama-2-7b", "tofu/phi-1.5", "wmdp/zephyr-7b-beta")
            for loss in ("gd", "ihl", "npo")
        },
        "vila/muse/iclm-7b": ("vila", 16, 32),
    }


def test_steps_and_warm_up() -> None:
    for forget, samples in FORGET_SAMPLES.items():
        training = load_recipe("loku/tofu/phi-1.5", [f"data.forget={forget}"]).training.plan(samples)
        steps = training.steps_an_epoch(samples)
        assert training.epochs * steps == TOFU_STEPS[forget]
        assert training.warmup_steps(steps) == steps
    training = load_recipe("loku/tdec/gpt-neo-2.7b").training.plan(32)
    assert (training.steps_an_epoch(32), training.warmup_steps(1)) == (1, 0)
    training = load_recipe("vila/wmdp/zephyr-7b-beta/ihl").training.plan(2000)
    assert (training.steps_an_epoch(2000), training.warmup_steps(500)) == (500, 50)


def test_every_command_of_the_index_can_be_run(model: Any) -> None:
    """Each is parsed by the command line; each recipe with its overrides loads and fits its model."""
    for command in commands():
        if command.words[0] == "eval":
            assert parsed(command)["benchmark"] in benchmarks
    assert str(parsed(RUNS[0])["output"]) == RUNS[0].output
    checked = set()
    for command in RUNS:
        assert [word for word in command.words if word.startswith("-")] == ["--output"]
        recipe = resolved(command)
        if recipe.method.name == "all_weights":
            assert not method_of(recipe).problems()
            continue
        assert recipe.adapter.alpha == 2 * recipe.adapter.rank
        adapter = (command.recipe, recipe.adapter.targets, recipe.adapter.layers, recipe.adapter.rank)
        if adapter not in checked:
            assert trained(recipe, model(command.recipe)) == expected(recipe, command.recipe), command
            checked.add(adapter)


def parsed(command: Command) -> dict[str, Any]:
    """The arguments and options as the command line understands them; nothing is run."""
    group: Any = typer.main.get_command(app)
    words = list(command.words)
    context = group.make_context("expunge", list(words), resilient_parsing=True)
    name, found, rest = group.resolve_command(context, words)
    return found.make_context(name, rest, parent=context).params


def test_the_models_that_are_finetuned_are_those_that_the_runs_use() -> None:
    """LoKU, section 4.3: 5 epochs at 2e-5 (Phi-1.5), at 1e-5 (Llama-2-7B)."""
    made = {}
    for command in commands():
        if command.words[0] != "finetune":
            continue
        arguments = parsed(command)
        recipe = load_recipe(content(str(arguments["recipe"])), arguments["overrides"])
        split = recipe.data.retain_split if arguments["on"] == "retain" else "full"
        assert str(arguments["output"]).endswith(f"/{split}")
        made[str(arguments["output"])] = (
            recipe.model.path,
            recipe.training.learning_rate,
            recipe.training.epochs,
        )
    published = {
        "phi-1.5": ("microsoft/phi-1_5", 2e-5, 5),
        "llama-2-7b": ("NousResearch/Llama-2-7b-chat-hf", 1e-5, 5),
    }
    assert made == {
        f"models/tofu/{size}/{split}": published[size]
        for size, split in itertools.product(published, ("full", "retain99", "retain95", "retain90"))
    }
    tofu = [resolved(command) for command in RUNS if "/tofu/" in command.recipe]
    assert {recipe.model.path for recipe in tofu} | {recipe.evaluation.reference for recipe in tofu} == set(
        made
    )


def test_no_two_runs_of_the_index_share_a_folder_and_no_recipe_is_left_out() -> None:
    folders = [command.output for command in RUNS]
    assert len(set(folders)) == len(folders)
    assert {command.recipe for command in RUNS} == set(shipped_recipes())


def rows(section: str) -> list[tuple[str, Recipe]]:
    """The runs under a heading that holds `section`: name of the shipped recipe, and the recipe of the row."""
    return [(command.recipe, resolved(command)) for command in RUNS if section in command.section]


def method(recipe: Recipe) -> tuple[str, str, str]:
    return recipe.objective.forget, recipe.objective.retain, recipe.adapter.initialization


TDEC_METHODS = set(itertools.product(("ga", "ihl"), ["nll"], ("default", "fila")))


def test_lokus_tables_2_to_9_are_complete() -> None:
    methods = {
        *TDEC_METHODS,
        ("ga", "kl", "default"), ("dpo", "nll", "default"), ("npo", "nll", "default"),
        ("ga", "none", "default"), ("ga", "none", "fila"),
    }  # fmt: skip
    found = {
        (size_of(name), recipe.adapter.rank, recipe.data.forget, recipe.evaluation.reference, method(recipe))
        for name, recipe in rows("Tables 2–9")
    }
    assert found == {
        (size, rank, f"forget{percent:02d}", f"models/tofu/{size}/retain{100 - percent}", row)
        for size, rank, percent, row in itertools.product(
            ("phi-1.5", "llama-2-7b"), (4, 8, 16, 32), (1, 5, 10), methods
        )
    }
    assert all(
        recipe.objective.hyperparameters == {"beta": 0.1} for _, recipe in rows("Tables 2–9")
        if recipe.objective.forget in ("dpo", "npo")
    )  # fmt: skip


def test_lokus_tdec_experiments_are_complete() -> None:
    found = {
        (size_of(name), recipe.adapter.rank, recipe.data.forget, method(recipe))
        for name, recipe in rows("Table 1 and")
    }
    sizes = ("gpt-neo-125m", "gpt-neo-1.3b", "gpt-neo-2.7b")
    assert found == set(itertools.product(sizes, (4, 8, 16, 32), range(5), TDEC_METHODS))
    continual = [command for command in RUNS if "Figure 6" in command.section]
    requests = [load_requests(command.recipe, command.overrides) for command in continual]
    assert all(isinstance(each, Requests) and each.forget == (0, 1, 2, 3) for each in requests)
    assert {method(resolved(command)) for command in continual} == TDEC_METHODS - {("ga", "nll", "fila")}
    layers = {(recipe.adapter.targets, recipe.data.forget, method(recipe)) for _, recipe in rows("Figure 4")}
    assert layers == set(itertools.product(("q_v", "qkvo", "ffn", "q_v_ffn"), range(5), TDEC_METHODS))
    assert {recipe.adapter.rank for _, recipe in rows("Figure 4")} == {32}


#: VILA's learning rate, λ and β of forget01, forget05, forget10, from the configuration files of its code.
VILA = {
    ("llama-2-7b", "gd"): [(7e-5, 0.7), (1e-4, 1.8), (5e-5, 1.6)],
    ("llama-2-7b", "ihl"): [(2e-4, 0.9), (1e-4, 1.3), (1e-4, 1.3)],
    ("llama-2-7b", "npo"): [(2e-4, 0.7, 0.3), (1e-4, 1.5, 0.5), (1e-4, 1.5, 0.5)],
    ("phi-1.5", "gd"): [(2e-4, 1.1), (4e-5, 1.9), (7e-5, 1.1)],
    ("phi-1.5", "ihl"): [(2e-4, 1.4), (9e-5, 1.3), (1e-4, 0.8)],
    ("phi-1.5", "npo"): [(3e-5, 1.1, 0.2), (3e-5, 1.5, 0.4), (5e-5, 1.8, 0.3)],
}
FORGET_LOSS = {"gd": "ga", "ihl": "ihl", "npo": "npo"}


def published(recipe: Recipe) -> tuple[float, ...]:
    objective = recipe.objective
    return recipe.training.learning_rate, objective.retain_weight, *objective.hyperparameters.values()


def test_vilas_tofu_tables_are_complete() -> None:
    splits = ["forget01", "forget05", "forget10"]
    importances = ("default", "fila", "variance", "lora_fisher", "vila", "expectation", "absolute")
    found = {
        (*name.split("/")[2:], recipe.data.forget, *method(recipe), published(recipe))
        for name, recipe in rows("the main table")
    }
    assert found == {
        (size, loss, split, FORGET_LOSS[loss], "nll", importance, values)
        for (size, loss), values_by_split in VILA.items()
        for split, values in zip(splits, values_by_split, strict=True)
        for importance in importances
    }
    for (size, loss), (_, _, forget10) in VILA.items():
        assert published(load_recipe(f"vila/tofu/{size}/{loss}")) == forget10
    losses = [f"vila/tofu/llama-2-7b/{loss}" for loss in FORGET_LOSS]
    layers = {
        (name, recipe.adapter.layers, recipe.adapter.initialization)
        for name, recipe in rows("share of the layers")
    }
    assert layers == set(itertools.product(losses, (0.25, 0.5, 0.75, 1.0), ["vila"]))


def test_lokus_rows_on_all_weights_are_complete() -> None:
    found = {
        (size_of(name), recipe.data.forget, method(recipe)[:2])
        for name, recipe in rows("All weights: table 1")
    }
    sizes = ("gpt-neo-125m", "gpt-neo-1.3b", "gpt-neo-2.7b")
    losses = [("ga", "none"), ("ga", "nll"), ("ihl", "nll")]
    assert found == set(itertools.product(sizes, range(5), losses))
    assert {recipe.method.name for _, recipe in rows("All weights: table 1")} == {"all_weights"}


def test_each_papers_protocol() -> None:
    """LoKU reports the last epoch, whatever it costs, VILA by the 95 % rule; both 300 questions of TOFU's sets."""
    for name in shipped_recipes():
        recipe = load_recipe(name)
        loku = name.startswith("loku/")
        assert recipe.stopping.choose == ("last" if loku else "best"), name
        assert recipe.stopping.utility_floor == (0 if loku else 0.5), name
        assert recipe.evaluation.first == (300 if "/tofu/" in name else None), name


def test_what_has_to_be_made_first_is_made_by_the_commands_at_the_recipes_head() -> None:
    for name, recipe in shipped_recipes().items():
        content, needed = load_recipe(name), set()
        if "/tofu/" in name:
            needed = {content.model.path, content.evaluation.reference}
        elif "/tdec/" in name:
            needed = {content.stopping.thresholds}
        assert needed <= recipe.made_first.keys(), name
        for output, command in recipe.made_first.items():
            words = shlex.split(command)[1:]
            assert str(parsed(Command("", tuple(words)))["output"]) == output
            assert any(tuple(words) == each.words for each in commands()), command


def test_a_model_that_is_missing_comes_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(monkeypatch, "validate", "loku/tofu/phi-1.5", f"data.path={tmp_path}") == 2
    said = capsys.readouterr().err
    made = shipped_recipe("loku/tofu/phi-1.5").made_first
    assert f"Make it: {made['models/tofu/phi-1.5/full']}\n" in said
    assert f"Make it: {made['models/tofu/phi-1.5/retain90']}\n" in said
    assert "retain99" not in said


def test_vilas_retraining_starts_before_tofu() -> None:
    runs = [recipe for _, recipe in rows("GPU hours") if recipe.method.name == "retrain"]
    assert [recipe.data.forget for recipe in runs] == ["forget01", "forget05", "forget10"]
    assert {recipe.method.base for recipe in runs} == {"NousResearch/Llama-2-7b-chat-hf"}
    official = {(recipe.data.forget, recipe.adapter.initialization) for _, recipe in rows("GPU hours")
                if recipe.importance.official}  # fmt: skip
    assert official == set(itertools.product(("forget01", "forget05", "forget10"), ("fila", "vila")))


def test_vilas_wmdp_and_muse_rows_are_complete() -> None:
    assert {recipe.benchmark for _, recipe in rows("WMDP")} == {"wmdp"}
    found = {(*method(recipe), published(recipe)) for _, recipe in rows("WMDP")}
    assert found == {
        ("ga", "nll", "default", (8e-5, 1.3)), ("ga", "nll", "fila", (1e-5, 1.0)), ("ga", "nll", "vila", (8e-5, 1.6)),
        ("ihl", "nll", "default", (2e-4, 0.9)), ("ihl", "nll", "fila", (7e-5, 1.9)),
        ("ihl", "nll", "vila", (3e-5, 1.0)), ("npo", "nll", "default", (4e-5, 1.9, 0.02)),
        ("npo", "nll", "fila", (2e-5, 1.7, 0.05)), ("npo", "nll", "vila", (1e-5, 1.1, 0.02)),
    }  # fmt: skip
    found = {method(recipe) for _, recipe in rows("MUSE")}
    assert found == set(itertools.product(("ga", "npo", "ihl"), ["nll"], ("default", "fila", "vila")))


def test_rows_of_a_table_meet_only_the_commands_under_their_heading() -> None:
    text = (
        "# A\n| row | `$x` |\n| --- | --- |\n| one | `1` |\n| two | `2` |\n\n| `$y` |\n| --- |\n| `a b` |\n\n"
        "```sh\nexpunge run r k=$x \\\n  l=$y\n# expunge run no\n```\n## B\n```sh\nexpunge eval m\n```\n"
    )
    with_rows, without = commands(text)[:2], commands(text)[2:]
    assert [command.words for command in with_rows] == [
        ("run", "r", "k=1", "l=a", "b"), ("run", "r", "k=2", "l=a", "b")
    ]  # fmt: skip
    assert [(command.section, command.words) for command in without] == [("A / B", ("eval", "m"))]
    with pytest.raises(KeyError, match="z"):
        commands("# A\n```sh\nexpunge run $z\n```")


def test_a_file_of_that_name_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_recipe(Path("loku/tofu/phi-1.5")).adapter.initialization == "fila"
    (tmp_path / "loku" / "tofu").mkdir(parents=True)
    (tmp_path / "loku" / "tofu" / "phi-1.5").write_text(
        "model: {path: m}\ndata: {format: tofu, path: d}\nadapter: {initialization: pissa}\n"
    )
    assert load_recipe("loku/tofu/phi-1.5").adapter.initialization == "pissa"


def test_copies_are_what_show_prints_and_nothing_is_overwritten(tmp_path: Path) -> None:
    file = copy_recipe("vila/muse/iclm-7b", tmp_path)
    assert file == tmp_path / "vila-muse-iclm-7b.yaml"
    assert file.read_text(encoding="utf-8") == shipped_recipe("vila/muse/iclm-7b").text
    assert load_recipe(file) == load_recipe("vila/muse/iclm-7b")
    for target in (tmp_path, file):
        with pytest.raises(InputError, match="there is a file already"):
            copy_recipe("vila/muse/iclm-7b", target)
    assert copy_recipe("loku/tofu/phi-1.5", tmp_path / "new" / "mine.yaml").is_file()
    with pytest.raises(InputError, match="Did you mean 'vila/muse/iclm-7b'"):
        shipped_recipe("vila/muse/icml-7b")


@pytest.mark.shared
def test_a_shipped_recipe_runs_dry_on_files_at_hand(shared: Path) -> None:
    """`expunge validate` on real data, few of them, and a tiny model: 2 steps an epoch, 4 blocks of rank 8."""
    tiny = shared / "models" / "tofu-tiny"
    found = plan(
        "vila/tofu/phi-1.5/ihl",
        [
            f"model.path={tiny}/full", f"data.path={shared}/data/tofu", "data.template=question-answer",
            "data.forget=forget01", "data.retain=holdout01", f"evaluation.reference={tiny}/retain99",
        ],
    )  # fmt: skip
    assert (found["forget_samples"], found["retain_samples"], found["steps"]) == (40, 40, 10)
    assert found["trainable_parameters"] == 4 * 8 * (4 * (192 + 192) + 3 * (192 + 512))


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["expunge", *arguments])
    try:
        main()
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


def test_recipes_on_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: Any, tmp_path: Path) -> None:
    assert call(monkeypatch, "recipes", "ls", "--json") == 0
    listed = {recipe["name"]: recipe for recipe in json.loads(capsys.readouterr().out)}
    assert set(listed) == set(shipped_recipes())
    assert listed["vila/wmdp/zephyr-7b-beta/npo"] == {
        "name": "vila/wmdp/zephyr-7b-beta/npo",
        "paper": "VILA, COLM 2025",
        "benchmark": "wmdp",
        "model": "HuggingFaceH4/zephyr-7b-beta",
        "description": "VILA on WMDP bio and cyber together: Zephyr-7B-beta with NPO + VILA.",
    }
    assert call(monkeypatch, "recipes", "ls") == 0
    printed = capsys.readouterr().out
    assert all(name in printed and recipe["model"] in printed for name, recipe in listed.items())
    assert call(monkeypatch, "recipes", "show", "loku/tofu/phi-1.5") == 0
    assert capsys.readouterr().out == shipped_recipe("loku/tofu/phi-1.5").text
    assert call(monkeypatch, "recipes", "cp", "loku/tofu/phi-1.5", str(tmp_path / "mine.yaml")) == 0
    assert Path(capsys.readouterr().out.strip()).is_file()
    assert call(monkeypatch, "recipes", "show", "loku/tofu/phi-2") == 2
    assert "Did you mean 'loku/tofu/phi-1.5'" in capsys.readouterr().err
