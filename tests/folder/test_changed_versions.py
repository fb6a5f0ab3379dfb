"""A resumed run can say under which other versions it goes on."""

from __future__ import annotations

import pytest

from expunge.folder.machine import changed_versions, command, versions


def test_only_what_is_known_on_both_sides_and_differs() -> None:
    here = versions()
    assert changed_versions(here) == []
    old = {**here, "torch": "1.0", "scipy": "0.1", "gone": "3"}
    assert changed_versions(old) == [f"torch 1.0, now {here['torch']}", f"scipy 0.1, now {here['scipy']}"]
    assert changed_versions({}) == []


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["/venv/bin/expunge", "run", "a.yaml"], ["expunge", "run", "a.yaml"]),
        (["C:/venv/Scripts/expunge.exe", "run"], ["expunge", "run"]),
        (["/venv/site-packages/expunge/__main__.py", "run"], ["expunge", "run"]),
        (["experiments/quality/own.py", "csv"], ["own.py", "csv"]),
        ([""], ["python"]),
    ],
)
def test_a_script_of_ones_own_is_not_said_to_be_a_command_of_expunge(argv, said, monkeypatch) -> None:
    monkeypatch.setattr("sys.argv", argv)
    assert command() == said
