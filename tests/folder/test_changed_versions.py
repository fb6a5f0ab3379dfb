"""A resumed run can say under which other versions it goes on."""

from __future__ import annotations

from expunge.folder.machine import changed_versions, versions


def test_only_what_is_known_on_both_sides_and_differs() -> None:
    here = versions()
    assert changed_versions(here) == []
    old = {**here, "torch": "1.0", "scipy": "0.1", "gone": "3"}
    assert changed_versions(old) == [f"torch 1.0, now {here['torch']}", f"scipy 0.1, now {here['scipy']}"]
    assert changed_versions({}) == []
