"""A full disk: a sentence, a state that says so, and the way on."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import pytest

import expunge
from expunge.cli import main
from expunge.errors import RunFailed
from expunge.storage import no_room, read_json
from expunge.training import trainer


def test_what_was_finished_is_kept_and_gone_on_with(
    recipe: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe["adapter"] = {"initialization": "default", "rank": 2, "alpha": 16}
    settings = ["evaluation.generate=never", "objective.retain_weight=0"]
    whole = expunge.unlearn(recipe, settings, output=tmp_path / "whole")
    real, folder = trainer.save_trained, tmp_path / "full"

    def second_does_not_fit(model: Any, target: Path, *more: Any) -> None:
        if list((folder / "checkpoints").glob("checkpoint-*")):
            target.mkdir(parents=True)
            (target / "half").write_text("half of it")
            raise OSError(errno.ENOSPC, "No space left on device")
        real(model, target, *more)

    monkeypatch.setattr(trainer, "save_trained", second_does_not_fit)
    with pytest.raises(
        RunFailed, match=r"^No space left on device: .*full\. What was finished is kept\. Make room"
    ):
        expunge.unlearn(recipe, settings, output=folder)
    state = read_json(folder / "run.json")
    assert (state["state"], state["error"]) == ("failed", f"No space left on device: {folder}.")
    assert not list(folder.rglob("half"))  # what was staged has made room for the record
    monkeypatch.undo()
    resumed = expunge.unlearn(recipe, settings, output=folder, resume=True)
    weights = "adapter_model.safetensors"
    assert (resumed.adapter / weights).read_bytes() == (whole.adapter / weights).read_bytes()
    assert resumed.state["error"] is None


def test_a_command_without_a_run_folder_says_it_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "out.json")

    monkeypatch.setattr("expunge.recipe.shipped.shipped_recipes", full)
    monkeypatch.setattr("sys.argv", ["expunge", "recipes", "ls"])
    with pytest.raises(SystemExit) as leave:
        main()
    assert leave.value.code == 1
    assert capsys.readouterr().err == (
        "Failed: No space left on device: out.json. Make room, and repeat the command.\n"
    )


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "x"), True),
        (OSError(errno.EDQUOT, "x"), True),
        (OSError(errno.EROFS, "x"), True),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), True),
        (OSError(errno.EACCES, "x"), False),
        (ValueError("x"), False),
    ],
)
def test_other_errors_are_about_something_else(error: Exception, full: bool, tmp_path: Path) -> None:
    assert (no_room(error, tmp_path / "not" / "yet") is not None) is full
