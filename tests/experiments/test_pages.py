"""Every page of docs/results is what the JSON beside it makes."""

from __future__ import annotations

import json
from pathlib import Path

import pages
import pytest
import theorem

RESULTS = sorted(pages.RESULTS.glob("*.md"))
#: Pages that a script writes as a whole, from the JSON of the same name.
WHOLE = {"theorem-1.md": theorem.page}


@pytest.mark.parametrize("page", RESULTS, ids=lambda page: page.name)
def test_a_page_is_what_its_json_makes(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    if page.name in WHOLE:
        figures = json.loads(page.with_suffix(".json").read_text(encoding="utf-8"))
        assert text == WHOLE[page.name](figures)
        return
    assert text == pages.made_again(text), "run: python experiments/pages.py"
    tables = [table for table, is_table in pages._blocks(text) if is_table]
    placed = [table for _, _, table in pages.PLACED.findall(text)]
    assert placed == tables, f"run: python experiments/pages.py --take {page}"


def test_a_changed_figure_is_written_and_one_that_was_taken_comes_back(tmp_path: Path) -> None:
    page = tmp_path / "speed.md"
    page.write_text(
        "# A\n\n| a | b |\n| --- | --- |\n| 1 |  |\n\nwords\n\n| part | s |\n| --- | --- |\n| x | 0.5 |\n"
    )
    (tmp_path / "speed").mkdir()
    measured = {"rows": [{"part": "x", "s": 0.5004, "more": 3}]}
    (tmp_path / "speed" / "parts.json").write_text(json.dumps(measured))
    before = page.read_text()
    pages.take(page)
    taken = page.read_text()
    assert (
        taken.replace("<!-- speed.json: A -->\n\n", "").replace("<!-- speed/parts.json -->\n\n", "") == before
    )
    assert json.loads((tmp_path / "speed.json").read_text()) == {"tables": {"A": [["a", "b"], ["1", ""]]}}
    pages.take(page)
    assert page.read_text() == taken == pages.made_again(taken, tmp_path)
    measured["rows"][0]["s"] = {"low": 0.1, "median": 0.25, "high": 2.0}
    (tmp_path / "speed" / "parts.json").write_text(json.dumps(measured))
    assert pages.made_again(taken, tmp_path) == taken.replace("0.5 |", "0.25 (0.1–2) |")
