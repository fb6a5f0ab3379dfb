"""The table of attacks: what a cell is made of, and what rows share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attack_table
import pages
from starts import Row

from expunge.storage import is_as_recorded, write_record


def outcome(share: float | None, low: float = 0.0, high: float = 0.0, **more: Any) -> dict[str, Any]:
    variant = {"share": share, "low": low, "high": high, "curves": {}, "steps_to_half": {}, **more}
    worst = None if share is None else "hard"
    return {"counts": True, "unfit": None, "worst": worst, "variants": {"hard": variant}}


def row(start: str, seed: int, attacks: dict[str, Any], worst: str | None) -> dict[str, Any]:
    return {
        "bed": "b", "objective": "ihl", "start": start, "seed": seed, "learning_rate": 0.004,
        "log10_forget_quality": {"all": -2.0 - seed}, "utility_share": 0.97, "forget_probability": 0.1,
        "attacks": attacks, "attack_seconds": {"merge": 2.0, "relearn": 10.0 * seed}, "worst": worst,
    }  # fmt: skip


def rows() -> list[dict[str, Any]]:
    course = {"curves": {"after": {0: 0.1, 4: 0.6}}, "steps_to_half": {"after": 4, "reference": None}}
    no_course = {"curves": {"after": {0: 0.1, 4: 0.2}}, "steps_to_half": {"after": None, "reference": None}}
    not_counted = {**outcome(1.0, 1.0, 1.0), "counts": False}
    first = {
        "remove": not_counted,
        "merge": outcome(-0.004, -0.01, 0.01),
        "relearn": outcome(0.5, 0.4, 0.6, **course),
    }
    second = {"remove": not_counted, "merge": outcome(None), "relearn": outcome(0.3, 0.1, 0.45, **no_course)}
    third = {"merge": {**outcome(None), "unfit": "no weights", "variants": {}}, "relearn": outcome(None)}
    bare = {"bed": "b", "role": "original", "seed": 1, "attacks": third, "worst": None}
    return [row("default", 1, first, "relearn"), row("default", 2, second, "relearn"),
            row("vila", 1, {**first, "relearn": outcome(0.25, 0.2, 0.3)}, "relearn"), bare]  # fmt: skip


def test_a_cell_is_the_mean_of_the_seeds_between_the_ends_of_their_intervals() -> None:
    made = attack_table.tables(rows())
    assert made["b: ihl"] == [
        ["attack", "counts", "default", "vila"],
        ["merge", "yes", "0 % (−1 to 1, 1 of 2 seeds)", "0 % (−1 to 1)"],
        ["relearn", "yes", "40 % (10 to 60)", "25 % (20 to 30)"],
        ["remove", "no", "100 % (100 to 100)", "100 % (100 to 100)"],
    ]
    assert made["b: the rows"][1:] == [
        ["ihl", "default", "2", "0.004", "-3.50", "97.0%", "0.100", "relearn", "40 % (10 to 60)"],
        ["ihl", "vila", "1", "0.004", "-3.00", "97.0%", "0.100", "relearn", "25 % (20 to 30)"],
    ]
    assert made["b: models without a run"] == [
        ["attack", "counts", "the original itself"],
        ["merge", "yes", "does not apply"],
        ["relearn", "yes", "no resolution"],
    ]
    assert made["b: steps to half recovery"] == [
        ["objective", "start", "hard"],
        ["ihl", "default", "4, none"],
        ["ihl", "vila", ""],
    ]
    assert made["b: seconds of a row"] == [  # merge took 2
        ["attack", "median", "greatest"],
        ["relearn", "10", "20"],
        ["together", "12", "22"],
    ]


def test_where_less_is_a_trace_as_well_the_lowest_score_has_a_line() -> None:
    both = outcome(-0.1, -0.3, 0.1, two_sided=True)
    both["variants"]["easy"] = {**both["variants"]["hard"], "share": -0.98, "low": -1.65, "high": -0.49}
    made = attack_table.tables([row("default", 1, {"membership": both}, "membership")])
    assert made["b: ihl"][1:] == [
        ["membership", "yes", "−10 % (−30 to 10)"],
        ["membership, lowest", "yes", "−98 % (−165 to −49)"],
    ]


def test_the_page_keeps_its_words_and_gets_the_tables_that_it_lacks(tmp_path: Path, monkeypatch: Any) -> None:
    page, file = tmp_path / "attacks.md", tmp_path / "attacks.json"
    monkeypatch.setattr(attack_table, "gather", lambda _: rows()[:1])
    attack_table.write(tmp_path, file, "b")
    page.write_text(page.read_text().replace("## b: ihl\n", "## b: ihl\n\nWhat it means.\n"))
    monkeypatch.setattr(attack_table, "gather", lambda _: [*rows(), {**rows()[0], "bed": "another"}])
    attack_table.write(tmp_path, file, "b")
    text = page.read_text()
    assert "What it means." in text
    assert text.count("| relearn | yes | 40 % (10 to 60) | 25 % (20 to 30) |") == 1
    assert text.count("## b: models without a run") == 1
    assert "another" not in text
    assert text == pages.made_again(text, tmp_path)
    tables = [table for table, is_table in pages._blocks(text) if is_table]
    assert [table for _, _, table in pages.PLACED.findall(text)] == tables


def test_what_the_other_models_said_is_shared_and_no_more(tmp_path: Path) -> None:
    record = {
        "basis": "x",
        "measured": {"after": {"v": 1}, "reference": {"v": 2}},
        "over": ["after", "reference"],
    }
    (tmp_path / "attacks" / "cheap").mkdir(parents=True)
    write_record(tmp_path / "attacks" / "cheap" / "merge.json", record)
    attack_table.publish(tmp_path / "attacks", tmp_path / "known")
    assert is_as_recorded(tmp_path / "known" / "cheap" / "merge.json")
    left = json.loads((tmp_path / "known" / "cheap" / "merge.json").read_text())
    del left["checksum"]
    assert left == {"basis": "x", "measured": {"reference": {"v": 2}}, "over": ["reference"]}


def test_a_row_is_read_from_its_name() -> None:
    row = Row("tofu-tiny", "forget10", "ihl", "default", 8, "1to6", 43)
    assert Row.called(row.name) == row
