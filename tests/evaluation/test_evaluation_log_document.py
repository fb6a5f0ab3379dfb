"""docs/evaluation-log.md names every key that a log has, and its example is one."""

from __future__ import annotations

import json
import re
from pathlib import Path

from expunge.benchmarks.registry import benchmarks
from expunge.benchmarks.tdec.benchmark import EXTRACTION
from expunge.evaluation.log import EvaluationLog, Likelihood, QuestionRecord
from expunge.evaluation.membership import SCORES

TEXT = (Path(__file__).parents[2] / "docs" / "evaluation-log.md").read_text(encoding="utf-8")


def first_column(heading: str) -> set[str]:
    part = TEXT.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*)\|", part, flags=re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def test_every_key_and_every_benchmark_has_its_row() -> None:
    record = QuestionRecord(0, Likelihood(1.0, 1))
    log = EvaluationLog("tofu", "1", False, {"forget": [record]})
    assert first_column("The document") == log.to_json().keys()
    assert first_column("A record") == record.to_json().keys()
    assert first_column("The benchmarks") == benchmarks.keys()
    for score in (EXTRACTION, *(score for score in SCORES if score != "reference")):
        assert f"`{score}`" in TEXT


def test_the_example_is_a_record() -> None:
    (example,) = re.findall(r"```json\n(.*?)\n```", TEXT, flags=re.DOTALL)
    assert QuestionRecord.from_json(json.loads(example)).to_json() == json.loads(example)
