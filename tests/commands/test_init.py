"""`expunge init`, and a run without a recipe: what is seen, what is written, that it works as it is."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from expunge.cli import app, main
from expunge.commands.completion import benchmark_names
from expunge.recipe import load_recipe
from expunge.recipe.own_files import own_recipe
from expunge.run import first_recipe

WRITTEN = """\
# Written by `expunge init`. What is not named here has a default: `expunge validate` shows every value.
# Next: expunge validate first.yaml
#       expunge run first.yaml

name: forget

# llama, {parameters} parameters in float32, no chat template, a window of 2,048 tokens; here it runs on cpu
model:
  path: model

data:
  # forget: qa, 6 samples, columns question and answer
  # retain: qa, 24 samples, columns question and answer
  forget: forget.jsonl
  retain: retain.jsonl
  # holdout: FILE   like what must go, but the model never saw it: tells memory from guessing

# evaluation: {{reference: MODEL}}   one that never saw what must go, where there is one
"""


@pytest.fixture
def here(model_folder: Path, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The model and the files, in the working directory."""
    (tmp_path / "model").symlink_to(model_folder)
    for file in data_folder.iterdir():
        shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["expunge", *arguments])
    try:
        main()
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


OWN = ("--model", "model", "--forget", "forget.jsonl", "--retain", "retain.jsonl")


def test_the_recipe_is_this_text_and_is_accepted(monkeypatch, capsys, here: Path) -> None:
    from safetensors.numpy import load_file

    assert call(monkeypatch, "init", *OWN, "--output", "first.yaml", "--no-look") == 0
    printed = capsys.readouterr()
    assert printed.out == "first.yaml\n"
    assert "Forget: qa, 6 samples, columns question and answer." in printed.err
    # A fifth of 24; 30 of them it takes, and they are half of 60 at most.
    few = (
        "The utility is measured on 4 samples: too few to say that it is kept, which takes 30. To try: give more "
        "examples of what should stay (data.retain), or have the model write them (data.retain: self). Of 60 that you "
        "give 30 are kept for that."
    )
    assert printed.err.splitlines()[-2] == few
    assert "Next: expunge validate first.yaml" in printed.err
    weights = load_file(here / "model" / "model.safetensors")
    count = sum(weight.size for weight in weights.values())
    assert Path("first.yaml").read_text() == WRITTEN.format(parameters=f"{count:,}")
    assert call(monkeypatch, "validate", "first.yaml") == 0
    planned = capsys.readouterr().out.splitlines()
    (data,) = (
        place
        for place, line in enumerate(planned)
        if line.startswith("data: qa, 6 samples to forget, 24 to keep")
    )
    assert planned[data + 1] == few
    assert call(monkeypatch, "init", *OWN, "--output", "first.yaml") == 2
    assert "there is a file already" in capsys.readouterr().err
    assert call(monkeypatch, "init", *OWN, "--output", "first.yaml/recipe.yaml") == 2
    assert "has no place: " in capsys.readouterr().err


def test_the_look_says_how_many_rows_name_keywords(here: Path) -> None:
    first, *others = Path("forget.jsonl").read_text().splitlines(keepends=True)
    row = json.dumps({**json.loads(first), "keywords": ["SECRET0"]})
    Path("named.jsonl").write_text("".join([f"{row}\n", *others]))
    seen = first_recipe.look(own_recipe("model", "named.jsonl"), knowledge=False)
    assert seen.sets["forget"] == "qa, 6 samples, columns question and answer, keywords of 1"


def test_the_look_tells_a_model_that_knows_from_one_that_does_not(
    here: Path, random_model_folder: Path
) -> None:
    def known(model: str) -> float:
        seen = first_recipe.look(own_recipe(model, "forget.jsonl", "retain.jsonl"))
        assert "; 6 looked at)" in seen.sets["forget"]
        assert "; 16 looked at)" in seen.sets["retain"]
        return float(seen.sets["forget"].split("probability of ")[1].split()[0])

    assert known("model") > 0.5 > 0.1 > known(str(random_model_folder))


def test_without_a_retain_set_the_model_is_to_write_one(here: Path) -> None:
    content = own_recipe("model", "forget.jsonl")
    text = first_recipe.recipe_text(Path("r.yaml"), content, first_recipe.look(content, knowledge=False))
    assert yaml.safe_load(text) == {
        "name": "forget", "model": {"path": "model"}, "data": {"forget": "forget.jsonl", "retain": "self"},
    }  # fmt: skip
    assert "retain: none, so the model writes one itself" in text


@pytest.mark.parametrize("options", [(), ("--model", "model"), ("--forget", "forget.jsonl")])
def test_what_is_missing_is_asked_for_or_said(
    monkeypatch, capsys, here: Path, options: tuple[str, ...]
) -> None:
    assert call(monkeypatch, "init", *options) == 2
    assert "Name it, or let --interactive ask for it." in capsys.readouterr().err


def test_interactive_asks_for_columns_of_no_known_format(here: Path) -> None:
    Path("asked.csv").write_text("frage,antwort\nWer ist das?,SECRET1 aus der Stadt.\nWer noch?,Niemand.\n")
    typed = ["model", "asked.csv", "", "", "frage", "antwort"]
    ran = CliRunner().invoke(app, ["init", "--interactive", "--no-look"], input="\n".join(typed) + "\n")
    assert ran.exit_code == 0, ran.output
    recipe = load_recipe("recipe.yaml")
    assert recipe.name == "asked"
    assert recipe.data.columns.question_column == "frage"
    assert recipe.data.columns.answer_column == "antwort"
    assert recipe.data.retains_itself
    assert "SECRET1" not in ran.output


def test_validate_without_a_recipe_is_validate_of_the_one_that_init_writes(
    monkeypatch, capsys, here: Path
) -> None:
    assert call(monkeypatch, "init", *OWN, "--no-look", "seed=7") == 0
    capsys.readouterr()
    planned = []
    for arguments in (["recipe.yaml"], [*OWN, "seed=7"]):
        assert call(monkeypatch, "validate", *arguments) == 0
        planned.append(yaml.safe_load(capsys.readouterr().out.partition("\n\n")[0]))
    assert planned[0] == planned[1]
    assert planned[0]["seed"] == 7


def test_a_run_without_a_recipe(monkeypatch, capsys, here: Path) -> None:
    given = [
        "training.epochs=1",
        "training.learning_rate=1e-2",
        "adapter.initialization=default",
        "adapter.rank=2",
        "adapter.alpha=16",
    ]
    assert call(monkeypatch, "run", *OWN, *given, "evaluation.max_new_tokens=2") == 0
    assert capsys.readouterr().out.strip() == str(Path("runs/forget/report.html"))
    assert Path("runs/forget/adapter").is_dir()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["recipe.yaml", "--model", "model"], "RECIPE: recipe.yaml: there are --model, --forget"),
        (["--model", "model"], "--forget: it is missing."),
        (["--retain", "retain.jsonl"], "--model: it is missing."),
        ([], "RECIPE: there is none."),
        (["--model", "model", "--forget", "nowhere.jsonl"], "--forget: there is no file 'nowhere.jsonl'."),
        (["--model", "./nowhere", "--forget", "forget.jsonl"], "--model: there is no folder './nowhere'."),
    ],
)
@pytest.mark.parametrize("command", ["run", "validate"])
def test_wrong_options_are_named_as_they_were_typed(
    monkeypatch, capsys, here: Path, command: str, arguments: list[str], said: str
) -> None:
    assert call(monkeypatch, command, *arguments) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("forget", "name"),
    [
        ("data/letters.jsonl.gz", "letters"),
        ("letters/", "letters"),
        ("org/my-set:train", "my-set-train"),
        ("~/briefe an alle", "briefe-an-alle"),
        (".", None),
    ],
)
def test_a_run_is_called_after_its_forget_set(forget: str, name: str | None) -> None:
    assert own_recipe("m", forget)["name"] == (name or Path().resolve().name)


def completions(words: str) -> list[str]:
    """What bash would be told for the last word."""
    asked: dict[str, Any] = {
        "_EXPUNGE_COMPLETE": "complete_bash", "COMP_WORDS": f"expunge {words}", "COMP_CWORD": str(len(words.split())),
    }  # fmt: skip
    return CliRunner().invoke(app, [], prog_name="expunge", env={**os.environ, **asked}).stdout.split()


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("validate r.yaml objective.for", ["objective.forget="]),
        ("validate r.yaml objective.forget = ih", ["ihl"]),
        ("validate r.yaml seed=3 adapter.initialization = vi", ["vila"]),
        ("run r.yaml evaluation.benchmark = mu", ["muse"]),
        ("eval model --benchmark td", ["tdec"]),
    ],
)
def test_the_shell_completes_names(words: str, found: list[str]) -> None:
    """In bash, which parts words at `=`."""
    assert completions(words) == found


def test_a_word_that_is_not_parted_is_completed_whole() -> None:
    from types import SimpleNamespace

    from expunge.commands.completion import overrides

    nothing = SimpleNamespace(params={"overrides": None})
    assert overrides(nothing, "objective.forget=ih") == ["objective.forget=ihl"]
    assert overrides(nothing, "objective.retain=n") == ["objective.retain=nll", "objective.retain=none"]
    assert benchmark_names("to") == ["tofu"]
