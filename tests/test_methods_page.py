"""`docs/methods.md` says of every method what the code says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from expunge.methods.catalogue import catalogue

PAGE = (Path(__file__).parents[1] / "docs" / "methods.md").read_text(encoding="utf-8")
ENTRIES = [
    (kind, entry)
    for kind, entries in catalogue().items()
    if not kind.startswith("presets")
    for entry in entries
]


def rows() -> list[list[str]]:
    """The cells of every line of a table."""
    lines = [line for line in PAGE.splitlines() if line.startswith("| `")]
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines
    ]


@pytest.mark.parametrize(
    ("kind", "entry"), ENTRIES, ids=lambda value: value if isinstance(value, str) else value["name"]
)
def test_name_formula_and_source_stand_in_one_row(kind: str, entry: dict) -> None:
    wanted = [
        f"`{entry['name']}`",
        *([entry["unit"]] if "unit" in entry else []),
        entry["formula"],
        entry["paper"],
    ]
    assert any([cell for cell in row if cell] == wanted for row in rows()), wanted


def test_there_is_no_row_of_what_does_not_exist() -> None:
    named = {row[0].strip("`") for row in rows()}
    assert {name for name in named if "." not in name} == {
        entry["name"] for _, entry in ENTRIES
    }  # but for keys


def test_presets_stand_for_what_the_page_says() -> None:
    for entry in catalogue()["presets (objective)"]:
        assert f"`{entry['name']}` =" in " ".join(PAGE.split()), entry["name"]
