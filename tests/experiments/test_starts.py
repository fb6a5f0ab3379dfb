"""A search is held against the best of a grid by the rule that the search has."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import starts
from starts import Row

ROW = Row("tofu-tiny", "forget05", "ihl", "directions", 32, "1to6", 42)


def made(rate: float, quality: float, share: float, trials: int = 0, row: Row = ROW) -> dict[str, Any]:
    return {
        "name": row.name,
        **vars(row),
        "learning_rate": rate,
        "log10_forget_quality": {"chosen_on": quality, "all": quality - 0.1},
        "utility_share": share,
        "trials": [{}] * trials,
        "seconds": {"tuning": 100.0, "training": 1.0} if trials else {"training": 30.0, "baseline": 50.0},
    }


def test_the_best_of_the_grid_keeps_the_utility_and_the_whole_grid_is_paid_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Row("tofu-tiny", "forget05", "ihl", "directions", 32, "1to6", 43)
    rows = {
        tmp_path: [made(2e-3, -0.6, 0.97, trials=4)],
        tmp_path / "grid" / "0.001": [made(1e-3, -2.0, 0.99), made(1e-3, -0.01, 0.99, row=other)],
        tmp_path / "grid" / "0.002": [made(2e-3, -0.5, 0.97)],
        tmp_path / "grid" / "0.004": [made(4e-3, -0.1, 0.94)],
    }
    for place in rows:
        place.mkdir(parents=True, exist_ok=True)
    monkeypatch.setattr(starts, "gather", rows.__getitem__)
    (found,) = starts.compared(tmp_path)
    assert found["row"] == ROW.name
    assert (found["search"]["learning_rate"], found["search"]["rates"], found["search"]["seconds"]) == (
        2e-3,
        4,
        101.0,
    )
    assert (found["grid"]["learning_rate"], found["grid"]["rates"], found["grid"]["seconds"]) == (
        2e-3,
        3,
        90.0,
    )
    assert [each["learning_rate"] for each in found["every"]] == [1e-3, 2e-3, 4e-3]
    assert starts.grid_table([found])[1] == [
        "forget05", "directions", "42", "0.002", "−0.60", "−0.70", "4, 101 s", "0.002", "−0.50", "−0.60", "3, 90 s",
    ]  # fmt: skip


def test_the_grid_is_twelve_rates_from_a_quarter_of_the_first_on() -> None:
    assert len(starts.GRID) == 12
    assert (starts.GRID[0], starts.GRID[4]) == (0.25, 1.0)
    assert starts.GRID[-1] == pytest.approx(2**3.5)


def test_the_rate_found_with_the_first_seed_is_given_to_the_same_row_of_others() -> None:
    def row(seed: int, start: str = "directions") -> Row:
        return Row("tofu-tiny", "forget05", "ihl", start, 32, "1to6", seed)

    there = [
        made(8e-3, -0.1, 0.99, trials=0, row=row(41)),  # given, not found
        made(4e-3, -0.6, 0.97, trials=4, row=row(43)),
        made(2e-3, -0.6, 0.97, trials=4, row=row(42)),
        made(1e-3, -0.1, 0.99, trials=4, row=row(41, "default")),
    ]
    assert starts.found_rate(there, row(44)) == 2e-3
    assert starts.found_rate(there, row(44, "vila")) is None


def test_processes_that_share_the_rows_have_the_same_of_every_seed() -> None:
    options = Namespace(
        bed="tofu-tiny", sets=["forget01", "forget05"], retain_weights=["1to6"], objectives=["ihl"],
        starts=["default", "directions", "vila"], rank=32, seeds=[42, 43], only="1/4",
    )  # fmt: skip
    shared = [(row.forget, row.start, row.seed) for row in starts.rows(options)]
    assert shared == [
        ("forget01", "directions", 42),
        ("forget05", "vila", 42),
        ("forget01", "directions", 43),
        ("forget05", "vila", 43),
    ]


@pytest.mark.parametrize(("bed", "template"), [("tofu-tiny", "question-answer"), ("smollm2", "auto")])
def test_a_model_is_asked_in_the_form_in_which_it_was_taught(bed: str, template: str, tmp_path: Path) -> None:
    row = Row(bed, "forget10", "ihl", "directions", 32, "1to6", 42)
    assert starts.recipe(row, tmp_path, tmp_path, tmp_path)["data"]["template"] == template


def whole(rate: float, quality: float, row: Row, trials: int = 1) -> dict[str, Any]:
    tried = {"learning_rate": rate, "forget_score": quality, "utility": 0.45}
    return {
        **made(rate, quality, 0.97, row=row),
        "trials": [tried] * trials,
        "forget_probability": 0.1,
        "extraction_strength": 0.2,
        "original_utility": 0.5,
    }


def test_a_table_grows_in_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that were measured elsewhere stay, a row that was measured anew takes its place, other beds are no part."""
    first, second, other = (
        Row("tofu-tiny", "forget05", "ihl", "directions", 32, "1to6", 42),
        Row("tofu-tiny", "forget05", "ihl", "directions", 32, "1to6", 43),
        Row("smollm2", "forget10", "ihl", "directions", 32, "1to6", 42),
    )
    file, page = tmp_path / "starts.json", tmp_path / "starts.md"
    page.write_text("# Starts\n\n<!-- starts.json: The starts -->\n\n| set |\n| --- |\n")
    here: list[dict[str, Any]] = [whole(2e-3, -0.6, first)]
    monkeypatch.setattr(starts, "gather", lambda _: here)
    monkeypatch.setattr(starts, "compared", lambda _: [])
    starts.write(tmp_path, file, "tofu-tiny")
    here[:] = [whole(4e-3, -1.2, second), whole(2e-3, -0.1, other)]
    starts.write(tmp_path, file, "tofu-tiny")
    assert [row["learning_rate"] for row in starts.known(file)] == [2e-3, 4e-3]
    here[:] = [whole(8e-3, -2.1, second, trials=0)]
    starts.write(tmp_path, file, "tofu-tiny")
    rows = [line for line in page.read_text().splitlines() if "forget05" in line]
    assert rows == [
        "| forget05 | ihl | directions | 1 to 6 | 42, 43 | 0.002, 0.008 | −0.70, −2.20 | −1.45 | 97.0, 97.0 % | 0.100 "
        "| 0.200 | 30, 30 |"
    ]
    assert json.loads(file.read_text())["tables"]["The trials"][1:] == [
        ["forget05", "ihl", "directions", "42", "0.002: −0.60 at 90.0 %"]
    ]


def test_a_row_of_the_file_is_not_run_again_and_its_rate_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = Row("tofu-tiny", "forget05", "ihl", "directions", 32, "1to6", 42)
    file = tmp_path / "known.json"
    file.write_text(json.dumps({"rows": [whole(2e-3, -0.6, row)]}))
    ran = []
    monkeypatch.setattr(
        starts, "run", lambda row, shared, models, output, rate, **_: ran.append((row.seed, rate))
    )
    monkeypatch.setattr(
        sys, "argv",
        ["starts.py", "--output", str(tmp_path), "--starts", "directions", "--seeds", "42", "43", "--found-once",
         "--known", str(file)],
    )  # fmt: skip
    starts.main()
    assert ran == [(43, 2e-3)]
