"""CONTRIBUTING.md, "Add a command": `epochs.py` beside this file, as it would lie in `src/expunge/commands/`."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

from expunge import cli

EXAMPLE = Path(__file__).with_name("epochs.py")
FINISHED = Path(__file__).parents[1] / "folder" / "earlier_version" / "finished"


def load_example() -> ModuleType:
    """The file as a module of `expunge.commands`, which it takes `AsJson` from."""
    spec = spec_from_file_location("expunge.commands.epochs", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def expunge(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The command line with the command added to it: `expunge(*arguments)` gives exit code, stdout and stderr."""
    epochs = load_example()
    monkeypatch.setattr(cli.app, "registered_commands", list(cli.app.registered_commands))
    cli.app.command()(epochs.epochs)  # the line that `cli.py` gets

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["expunge", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as leave:
            code = int(leave.code or 0)
        return code, *capsys.readouterr()

    return call


def test_it_prints_what_the_run_folder_has(expunge) -> None:
    rows = [json.loads(line) for line in (FINISHED / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 3
    code, printed, _ = expunge("epochs", FINISHED, "--json")
    assert code == 0
    assert json.loads(printed) == [
        {key: row[key] for key in ("epoch", "forget_score", "utility")} for row in rows
    ]
    code, printed, _ = expunge("epochs", FINISHED)
    assert code == 0
    assert printed.splitlines()[0] == "epoch 1   forget score 0.9986  utility 0.0030"


def test_it_is_listed_beside_the_others(expunge) -> None:
    code, printed, _ = expunge("--help")
    assert code == 0
    assert "epochs " in printed
    assert "validate " in printed
    _, printed, _ = expunge("epochs", "--help")
    assert "Print how much was forgotten" in printed
    assert "one JSON document on stdout" in printed


def test_what_is_wrong_comes_as_a_sentence_and_code_2(expunge, tmp_path: Path) -> None:
    code, printed, said = expunge("epochs", tmp_path)
    assert (code, printed) == (2, "")
    assert said.startswith(f"Error: {tmp_path}")
    assert "there is no run.json" in said
    assert expunge("epochs")[0] == 2


def test_it_costs_the_start_up_nothing() -> None:
    """Of the example and of all commands: what they work with is imported when they run."""
    code = (
        "import sys, test_added_command as test\n"
        "test.load_example()\n"
        "heavy = {'torch', 'transformers', 'numpy', 'rich.progress', 'expunge.folder'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=EXAMPLE.parent, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
