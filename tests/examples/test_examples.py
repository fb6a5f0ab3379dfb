"""The four examples of using expunge from Python, as a reader would run them."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

FOLDER = Path(__file__).parents[2] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_loop_of_ones_own_makes_the_answers_unlikely() -> None:
    before, after = load("own_loop").main()
    assert before > -0.1
    assert after < -1


def test_transformers_trainer_minimises_the_loss() -> None:
    first, last = load("transformers_trainer").main()
    assert first == pytest.approx(20 * 0.693147, rel=1e-3)  # 2 log 2 / β at β = 0.1: nothing has changed yet
    assert last < first - 0.05


def test_trls_trainer_minimises_the_loss() -> None:
    pytest.importorskip("trl", reason="needs TRL, which is no dependency: pip install trl")
    first, last = load("trl_sft").main()
    assert first == pytest.approx(2, abs=0.02)  # 1 + p − (1 − p) for an answer known by heart
    assert last < first - 0.02


@pytest.mark.slow
def test_the_notebooks_cells_run_one_after_another(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((FOLDER / "notebook.ipynb").read_text(encoding="utf-8"))
    names: dict[str, Any] = {}
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            assert cell["outputs"] == []
            exec(compile("".join(cell["source"]), "notebook.ipynb", "exec"), names)
    run = names["run"]
    assert names["after"] < names["before"] - 0.2
    assert run.report.is_file()
    assert "unlearned:" in capsys.readouterr().out
