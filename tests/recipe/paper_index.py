"""docs/papers*.md as data: every command with every row of the tables that it stands under."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template

PAGES = sorted((Path(__file__).parents[2] / "docs").glob("papers*.md"))


@dataclass(frozen=True)
class Command:
    """A command without `expunge`, with nothing left to fill in, and the headings above it joined by ` / `."""

    section: str
    words: tuple[str, ...]

    @property
    def recipe(self) -> str:
        return self.words[1]

    @property
    def overrides(self) -> list[str]:
        return [word for word in self.words[2:] if "=" in word and not word.startswith("-")]

    @property
    def output(self) -> str:
        return self.words[self.words.index("--output") + 1]


def commands(text: str | None = None) -> list[Command]:
    """Every `expunge …` line of the index's sh blocks, once for each combination of its section's rows.

    A table whose header has cells such as `$rank` lists values; only the tables under the same heading count.
    Raises KeyError for a name that no table of the section has.
    """
    found: dict[Command, None] = {}
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    for section, lines in _sections(pages if text is None else text):
        tables = list(_settings(lines))
        for line in _shell_lines(lines):
            line = re.sub(r"^accelerate launch .* -m (?=expunge )", "", line)
            if not line.startswith("expunge "):
                continue
            for rows in itertools.product(*tables):
                values = {name: value for row in rows for name, value in row.items()}
                words = tuple(shlex.split(Template(line).substitute(values))[1:])
                found[Command(section, words)] = None  # a command need not use all tables above it
    return list(found)


def _sections(text: str) -> Iterator[tuple[str, list[str]]]:
    headings: list[str] = []
    lines: list[str] = []
    fenced = False
    for line in text.splitlines():
        fenced ^= line.startswith("```")
        heading = None if fenced else re.match(r"(#+) (.*)", line)
        if heading:
            yield " / ".join(headings), lines
            headings, lines = [*headings[: len(heading[1]) - 1], heading[2]], []
        else:
            lines.append(line)
    yield " / ".join(headings), lines


def _settings(lines: list[str]) -> Iterator[list[dict[str, str]]]:
    header: list[str] = []
    rows: list[dict[str, str]] = []
    for line in [*lines, ""]:
        cells = _cells(line)
        if cells and not header:
            header = cells
        elif cells and not set(cells[0]) <= {"-"}:
            pairs = zip(header, cells, strict=True)
            rows.append({name[1:]: cell for name, cell in pairs if name.startswith("$")})
        elif not cells:
            if any(name.startswith("$") for name in header):
                yield rows
            header, rows = [], []


def _cells(line: str) -> list[str]:
    """The cells of a table's line; none where the line is of no table."""
    if not line.startswith("|"):
        return []
    return [cell.strip().strip("`") for cell in line.strip("|").split("|")]


def _shell_lines(lines: list[str]) -> list[str]:
    """The lines of sh blocks, those that end with a backslash joined with the next."""
    blocks = re.findall(r"^```sh\n(.*?)^```", "\n".join(lines), flags=re.DOTALL | re.MULTILINE)
    return [line.strip() for block in blocks for line in block.replace("\\\n", " ").splitlines()]
