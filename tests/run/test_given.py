"""`unlearn` with a model and rows in memory: the same run as of files, kept so that it can be resumed."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from expunge import InputError, Run, attach_adapter, unlearn
from expunge.folder.lock import locked
from expunge.run.attacked import attack_run
from small_recipe import small_recipe


@dataclass
class InMemory:
    model: Any
    tokenizer: Any
    forget: list[dict[str, str]]
    retain: Dataset
    recipe: dict[str, Any]
    run: Run

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "model": self.model, "tokenizer": self.tokenizer, "forget": self.forget, "retain": self.retain,
            "output": self.run.path,
        }  # fmt: skip


def rows_of(file: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.fixture(scope="module")
def handed(model_folder: Path, data_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> InMemory:
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    whole = small_recipe(model_folder, data_folder)
    recipe = {key: whole[key] for key in ("adapter", "training", "evaluation")}
    made = InMemory(
        model,
        AutoTokenizer.from_pretrained(model_folder),
        rows_of(data_folder / "forget.jsonl"),
        Dataset.from_list(rows_of(data_folder / "retain.jsonl")),
        recipe,
        Run(tmp_path_factory.mktemp("given") / "run"),
    )
    made.run = unlearn(recipe, **made.arguments)
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    return made


def adapter(run: Run) -> dict[str, torch.Tensor]:
    return load_file(run.adapter / "adapter_model.safetensors")


def test_it_is_the_run_of_the_same_files(handed: InMemory, recipe: dict[str, Any]) -> None:
    from_files = unlearn(recipe)
    ours, theirs = adapter(handed.run), adapter(from_files)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    for fact in ("fingerprint", "tokenizer"):
        assert handed.run.state["model"][fact] == from_files.state["model"][fact]
    for side in ("forget", "retain"):
        assert handed.run.state["data"][side]["hash"] == from_files.state["data"][side]["hash"]


def test_rows_are_kept_for_their_owners_eyes_alone(handed: InMemory) -> None:
    files = {file.name: file for file in (handed.run.path / "data").iterdir()}
    assert set(files) == {"forget.jsonl", "retain.jsonl"}
    assert rows_of(files["forget.jsonl"]) == handed.forget
    assert {stat.S_IMODE(file.stat().st_mode) for file in files.values()} == {0o600}


def test_the_model_that_was_handed_over_loads_from_the_folder_alone(handed: InMemory) -> None:
    ids = torch.tensor([[3, 5, 7]])
    with torch.no_grad(), (model := handed.run.model()).disable_adapter():
        torch.testing.assert_close(model(ids).logits, handed.model(ids).logits)


def test_rows_may_name_keywords(handed: InMemory, tmp_path: Path) -> None:
    """They are kept and read as of a file; nothing is trained on them."""
    forget = [{**row, "keywords": [row["answer"].split()[0], "by the sea"]} for row in handed.forget]
    run = unlearn(handed.recipe, **{**handed.arguments, "forget": forget, "output": tmp_path / "run"})
    assert rows_of(run.path / "data" / "forget.jsonl") == forget
    ours, theirs = adapter(run), adapter(handed.run)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert run.state["data"]["forget"]["hash"] != handed.run.state["data"]["forget"]["hash"]
    made = attack_run(run.path, ["sample"], "cheap").outcomes["sample"]
    assert made.variants["leak@1, T = 1"].facts == {"by keywords": 6}
    assert "leak@1; by keywords: 6 of 6" in run.report.read_text()
    open_to_all = [run.report, run.card, run.path / "run.json", run.path / "recipe.yaml"]
    assert not any("SECRET" in file.read_text() or "by the sea" in file.read_text() for file in open_to_all)


def test_it_is_gone_on_with_from_memory_and_from_the_folder(handed: InMemory) -> None:
    wanted = adapter(handed.run)
    for again in (
        lambda: unlearn(handed.recipe, **handed.arguments, resume=True),
        lambda: unlearn(handed.run.path / "recipe.yaml", output=handed.run.path, resume=True),
    ):
        (handed.run.path / "run.json").write_text(_without_export(handed.run))
        found = adapter(again())
        assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def _without_export(run: Run) -> str:
    state = run.state
    phases = {name: phase for name, phase in state["phases"].items() if name not in ("export", "report")}
    return json.dumps({**state, "state": "running", "phases": phases})


def test_other_rows_and_another_model_are_not_gone_on_with(handed: InMemory) -> None:
    other = AutoModelForCausalLM.from_pretrained(handed.run.path / "base")
    other.lm_head.weight.data.mul_(2)
    with pytest.raises(InputError) as caught:
        unlearn(
            handed.recipe,
            **{**handed.arguments, "model": other, "forget": handed.forget[:3]},
            resume=True,
        )
    assert "other rows than forget has now" in str(caught.value)
    assert "the run was started with another model" in str(caught.value)
    with pytest.raises(InputError, match="there is a run in this folder already"):
        unlearn(handed.recipe, **handed.arguments)


def test_wrong_input_leaves_nothing(handed: InMemory, tmp_path: Path) -> None:
    output = tmp_path / "run"
    with pytest.raises(InputError, match="the 'answer' is empty"):
        unlearn(
            handed.recipe,
            **{**handed.arguments, "forget": [{"question": "Who?", "answer": ""}], "output": output},
        )
    assert not output.exists() or not any(output.iterdir())


def test_files_of_the_users_own_stay(handed: InMemory, tmp_path: Path) -> None:
    """A folder with a recipe and data of these names looks like a run that a kill ended early."""
    folder = tmp_path / "run"
    (folder / "data").mkdir(parents=True)
    own = {
        folder / "recipe.yaml": "# mine\nseed: 7\n",
        folder / "data" / "forget.jsonl": '{"question": "a", "answer": "b"}\n',
        folder / "data" / "notes.txt": "mine",
    }
    for file, text in own.items():
        file.write_text(text)
    arguments = {**handed.arguments, "output": folder}
    with pytest.raises(InputError, match="there is already what holds other rows than forget has now"):
        unlearn(handed.recipe, **arguments)
    assert {file: file.read_text() for file in folder.rglob("*") if file.is_file()} == own
    (folder / "data" / "forget.jsonl").unlink()
    del own[folder / "data" / "forget.jsonl"]
    with pytest.raises(InputError, match=r"recipe\.yaml: it is another recipe than the run's"):
        unlearn(handed.recipe, **arguments)
    assert {
        file: file.read_text() for file in folder.rglob("*") if file.is_file() and file.name != ".lock"
    } == own


def test_rows_with_the_line_ends_of_unicode_are_gone_on_with(handed: InMemory, tmp_path: Path) -> None:
    rows = [{**row, "answer": f"{row['answer']}\u2028\x85 and on."} for row in handed.forget]
    arguments = {**handed.arguments, "forget": rows, "output": tmp_path / "run"}
    run = unlearn(handed.recipe, **arguments)
    wanted = adapter(run)
    (run.path / "run.json").write_text(_without_export(run))
    found = adapter(unlearn(handed.recipe, **arguments, resume=True))
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


def test_what_another_process_keeps_there_stays(handed: InMemory, tmp_path: Path) -> None:
    """It has begun with rows of its own, and has no state yet."""
    folder = tmp_path / "run"
    kept = folder / "data" / "forget.jsonl"
    kept.parent.mkdir(parents=True)
    kept.write_text("its rows")
    with (
        locked(folder, "output"),
        pytest.raises(InputError, match="is being written to by process"),
    ):
        unlearn(handed.recipe, **{**handed.arguments, "output": folder})
    assert [path.name for path in kept.parent.iterdir()] == ["forget.jsonl"]
    assert kept.read_text() == "its rows"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"forget": "forget.jsonl"}, "forget: it is a path, not rows."),
        ({"forget": [{"question": "a", "answer": "b"}, "SECRET"]}, "forget, row 2: it is of type str, not a dict."),
        ({"forget": [{"question": "a", "answer": {1, 2}}]}, "row 1: it holds what JSON cannot write (TypeError)."),
        ({"tokenizer": None}, "model: there is no tokenizer to it."),
        ({"model": torch.nn.Linear(2, 2)}, "model: it is of type Linear, not a model of transformers."),
        ({"model": None}, "tokenizer: there is no model to it."),
    ],
)  # fmt: skip
def test_what_cannot_be_kept_is_said(
    handed: InMemory, tmp_path: Path, change: dict[str, Any], said: str
) -> None:
    with pytest.raises(InputError) as caught:
        unlearn(handed.recipe, **{**handed.arguments, "output": tmp_path / "run", **change})
    assert said in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_a_model_with_adapters_and_a_section_with_files_of_its_own_are_refused(
    handed: InMemory, tmp_path: Path
) -> None:
    given = {**handed.arguments, "output": tmp_path / "run"}
    with pytest.raises(InputError, match="'tofu' has files of its own"):
        unlearn({**handed.recipe, "data": {"format": "tofu", "path": "tofu"}}, **given)
    model = AutoModelForCausalLM.from_pretrained(handed.run.path / "base")
    with pytest.raises(InputError, match="it is of type PeftModel"):
        unlearn(handed.recipe, **{**given, "model": attach_adapter(model, None, rank=2)})
