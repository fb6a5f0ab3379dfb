"""`CONTRIBUTING.md` quotes files that a test runs, letter for letter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "CONTRIBUTING.md"
#: A quoted file: its path in a comment, then its content.
QUOTE = re.compile(r"<!-- (tests/\S+) -->\n(?:\n```(\w+)\n(.*?)```\n)?", re.DOTALL)


def quoted(path: str) -> str:
    language = {".py": "python", ".toml": "toml"}[Path(path).suffix]
    return f"<!-- {path} -->\n\n```{language}\n{(ROOT / path).read_text(encoding='utf-8')}```\n"


def test_the_examples_are_there() -> None:
    names = {Path(path).name for path, _, _ in QUOTE.findall(PAGE.read_text(encoding="utf-8"))}
    assert names >= {
        "pyproject.toml",
        "loss.py",
        "estimator.py",
        "metric.py",
        "attack.py",
        "declaration.py",
        "benchmark.py",
    }


@pytest.mark.parametrize("path", [path for path, _, _ in QUOTE.findall(PAGE.read_text(encoding="utf-8"))])
def test_a_quote_is_the_file(path: str) -> None:
    assert quoted(path) in PAGE.read_text(encoding="utf-8"), "run `python tests/test_contributing_page.py`"


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(QUOTE.sub(lambda match: quoted(match.group(1)), text), encoding="utf-8")
