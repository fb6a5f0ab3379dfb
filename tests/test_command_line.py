"""The command line as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import expunge
from expunge.cli import main


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr("sys.argv", ["expunge", *arguments])
    try:
        main()
    except SystemExit as leave:
        return int(leave.code or 0)
    return 0


def test_help_and_import_load_nothing_heavy() -> None:
    """Imports are what makes a start slow; counting them is not a matter of the machine's load."""
    code = (
        "import sys; sys.argv = ['expunge', '--help']\n"
        "from expunge.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'peft', 'datasets', 'matplotlib', 'scipy', 'numpy'} & set(sys.modules)\n"
        "print('HEAVY', sorted(heavy))"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "HEAVY []" in printed
    for command in (
        "quickstart",
        "init",
        "run",
        "validate",
        "importance",
        "finetune",
        "eval",
        "score",
        "export",
        "report",
        "chat",
        "methods",
        "recipes",
    ):
        assert command in printed


def test_the_public_names_are_all_there() -> None:
    assert set(expunge.__all__) == {
        "ExpungeError", "InputError", "Problem", "Recipe", "Run", "RunFailed", "__version__", "attach_adapter",
        "export_adapter", "input_directions", "load_assisted", "load_recipe", "losses", "measure_importance", "unlearn",
    }  # fmt: skip
    for name in expunge.__all__:
        assert getattr(expunge, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'forget_everything'"):
        _ = expunge.forget_everything


def test_version(monkeypatch, capsys) -> None:
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.strip() == expunge.__version__


def test_methods_as_json_is_one_document(monkeypatch, capsys) -> None:
    assert call(monkeypatch, "methods", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    names = {entry["name"] for entries in found.values() for entry in entries}
    assert {"ga", "npo", "ihl", "nll", "none", "gd", "default", "pissa", "fila", "vila", "factored"} <= names
    assert all(entry["formula"] and entry["paper"] for entries in found.values() for entry in entries)
    default = {entry["name"] for entries in found.values() for entry in entries if entry.get("default")}
    assert default == {"unlearn", "ihl", "nll", "directions"}


def test_methods_as_text_has_its_formulas_in_one_column(monkeypatch, capsys) -> None:
    assert call(monkeypatch, "methods") == 0
    lines = capsys.readouterr().out.splitlines()
    starts = {line.index("W − scale") for line in lines if line.startswith("  task_arithmetic ")}
    starts |= {line.index("logits_base") for line in lines if line.startswith("  uld ")}
    assert len(starts) == 1
    marked = [line.split()[0] for line in lines if line.endswith("   (the default)")]
    assert marked == ["unlearn", "ihl", "nll", "directions"]


def test_a_wrong_command_and_a_wrong_option_exit_with_2(monkeypatch, capsys) -> None:
    assert call(monkeypatch, "forget") == 2
    assert call(monkeypatch, "run") == 2
    assert call(monkeypatch, "run", "recipe.yaml", "--outpt", "x") == 2
    assert "Traceback" not in capsys.readouterr().err


def test_an_interrupted_command_exits_with_130_and_says_how_to_go_on(monkeypatch, capsys) -> None:
    """What comes after it in a script must not run."""

    def press_ctrl_c() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("expunge.methods.catalogue.catalogue", press_ctrl_c)
    assert call(monkeypatch, "methods") == 130
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "--resume" in printed.err
    assert "Traceback" not in printed.err


def test_a_missing_recipe_is_named(monkeypatch, capsys) -> None:
    assert call(monkeypatch, "validate", "absent.yaml") == 2
    assert capsys.readouterr().err.startswith("Error: absent.yaml: there is no such file.")


def test_exporting_what_is_no_run(monkeypatch, capsys, tmp_path: Path) -> None:
    assert call(monkeypatch, "export", str(tmp_path), "--output", str(tmp_path / "out")) == 2
    assert "there is no run.json" in capsys.readouterr().err


@pytest.mark.shared
def test_score_prints_the_golden_values(monkeypatch, capsys, shared: Path) -> None:
    logs = shared / "data" / "tofu_logs"
    arguments = [str(logs / "phi_full.json"), "--reference", str(logs / "phi_retain90.json")]
    assert call(monkeypatch, "score", "tofu", *arguments, "--json", "--rows") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metrics"]["forget_quality"]["value"] == pytest.approx(2.1942743e-16, rel=1e-6)
    assert found["metrics"]["model_utility"]["value"] == pytest.approx(0.522074, abs=5e-7)
    assert len(found["rouge"]["forget"]) == 300


@pytest.mark.shared
def test_validate_tells_what_a_run_would_do(monkeypatch, capsys, shared: Path, tmp_path: Path) -> None:
    file = tmp_path / "tofu.yaml"
    file.write_text(
        f"model: {{path: {shared}/models/tofu-tiny/full}}\n"
        f"data: {{format: tofu, path: {shared}/data/tofu, forget: forget05}}\n"
    )
    assert call(monkeypatch, "validate", str(file), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["forget_samples"], found["retain_samples"]) == (200, 3800)
    assert found["steps"] == 6 * 7  # 200 samples in batches of 32, and 40 steps at least
    # 4 blocks of rank 32: four attention layers of 192 + 192 and three of 192 + 512
    assert found["trainable_parameters"] == 4 * 32 * (4 * 384 + 3 * 704)
    assert found["peak_memory_bytes"] > 2_400_000 * 2
    assert call(monkeypatch, "validate", str(file), "training.epochs=0", "data.forget=forget50") == 2
