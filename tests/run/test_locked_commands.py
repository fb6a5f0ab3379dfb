"""Every command that writes into a folder asks for its lock, and lets go of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import expunge
from expunge.errors import InputError
from expunge.folder.lock import locked
from expunge.report.rewrite import report_run
from expunge.run.finetune import finetune_recipe
from expunge.storage import LOCK


def requests(recipe: dict[str, Any]) -> dict[str, Any]:
    data = recipe["data"]
    return {**recipe, "data": {**data, "forget": [data["forget"], data["retain"]]}}


@pytest.mark.parametrize(
    ("write", "held"),
    [
        (lambda recipe, folder: expunge.unlearn(recipe, output=folder), "out"),
        (lambda recipe, folder: expunge.unlearn(recipe, output=folder, resume=True), "out"),
        (lambda recipe, folder: expunge.unlearn(requests(recipe), output=folder), "out"),
        (lambda recipe, folder: report_run(folder), "out"),
        (lambda recipe, folder: finetune_recipe(recipe, on="full", output=folder), "out.finetuning"),
    ],
    ids=["run", "resume", "requests", "report", "finetune"],
)
def test_a_second_writer_is_refused(
    recipe: dict[str, Any], tmp_path: Path, write: Callable[[dict[str, Any], Path], Any], held: str
) -> None:
    with locked(tmp_path / held, "first"):
        with pytest.raises(InputError, match=r"it is being written to by process \d+ on "):
            write(recipe, tmp_path / "out")
        assert [file.name for file in (tmp_path / held).iterdir()] == [LOCK]
    assert not (tmp_path / "out").exists()


def test_a_folder_with_a_dead_ones_lock_alone_is_begun_in(recipe: dict[str, Any], tmp_path: Path) -> None:
    """A kill before anything was written leaves the lock's file."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / LOCK).write_text('{"process": 1, "host": "elsewhere", "since": "2026"}')
    recipe["adapter"] = {"initialization": "default", "rank": 2, "alpha": 16}
    run = expunge.unlearn(recipe, ["training.epochs=1", "evaluation.generate=never"], output=tmp_path / "out")
    assert run.state["state"] == "done"
    assert not (run.path / LOCK).exists()
