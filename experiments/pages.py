"""The tables of docs/results, made again from the JSON beside the pages.

    python experiments/pages.py                # write every page's tables anew; a page that is right stays as it is
    python experiments/pages.py --take PAGE    # the other way, for a page whose tables have no JSON yet

Every table of a page stands under a comment that names where its figures are: `<!-- speed/scaling.json -->` a file
whose `rows` are the table's, of which it shows the columns that it has; `<!-- tofu-tiny.json: forget10 -->` one of the
`tables` in the page's own file, cell by cell as they are shown. A test holds every page against its JSON.

`--take` names the measured JSON in the folder that is called like the page (`speed/`) where one holds just the rows of
a table; the other tables without a comment go into the page's own JSON, each called after its heading.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "speed"))
from side_by_side import Spread, table

RESULTS = Path(__file__).parents[1] / "docs" / "results"
#: A comment with the place of a table's figures, a blank line, and the table.
PLACED = re.compile(r"^<!-- ([\w./-]+\.json)(?:: (.+?))? -->\n\n((?:\|.*\n?)+)", flags=re.MULTILINE)


def made_again(page: str, folder: Path = RESULTS) -> str:
    """The page with every table that names its JSON written from it."""

    def write(found: re.Match[str]) -> str:
        file, name, shown = found.groups()
        content = json.loads((folder / file).read_text(encoding="utf-8"))
        columns = cells(shown.splitlines()[0])
        text = of_cells(content["tables"][name]) if name else of_rows(columns, content["rows"])
        return found[0].removesuffix(shown) + text

    return PLACED.sub(write, page)


def of_rows(columns: list[str], rows: list[dict[str, Any]]) -> str:
    """As the script that measured them printed them."""
    return table(columns, [{key: _value(value) for key, value in row.items()} for row in rows]) + "\n"


def _value(value: Any) -> Any:
    return Spread(**value) if isinstance(value, dict) else value


def of_cells(cells_by_row: list[list[str]]) -> str:
    """The first row is the columns' names."""
    first, *rows = cells_by_row
    lines = [first, ["---"] * len(first), *rows]
    return "".join("|" + "".join(f" {cell} |" for cell in line) + "\n" for line in lines)


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def take(page: Path) -> None:
    """Name the JSON of every table of the page that names none: one in the folder named after the page that has just
    these rows, else the page's own file, into which the table goes."""
    own = page.with_suffix(".json")
    content = json.loads(own.read_text(encoding="utf-8")) if own.exists() else {}
    before = page.read_text(encoding="utf-8")
    named = {name for file, name, _ in PLACED.findall(before) if file == own.name}
    tables = {name: table for name, table in content.get("tables", {}).items() if name in named}
    text, heading = "", ""
    for block, is_table in _blocks(before):
        headings = re.findall(r"^#+ (.*)$", block, flags=re.MULTILINE)
        heading = headings[-1] if headings and not is_table else heading
        if is_table and not re.search(r"^<!-- [\w./-]+\.json(: .+)? -->\n\n\Z", text, flags=re.MULTILINE):
            measured = _measured(block, page)
            if measured is None:
                name = heading if heading not in tables else f"{heading}, table {len(tables) + 1}"
                tables[name] = [cells(line) for line in block.splitlines() if not _is_ruler(line)]
            place = f"{page.stem}/{measured.name}" if measured else f"{own.name}: {name}"
            text += f"<!-- {place} -->\n\n"
        text += block
    if tables:
        own.write_text(
            json.dumps({**content, "tables": tables}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
        )
    page.write_text(made_again(text, page.parent), encoding="utf-8")


def _measured(block: str, page: Path) -> Path | None:
    columns = cells(block.splitlines()[0])
    for file in sorted((page.parent / page.stem).glob("*.json")):
        rows = json.loads(file.read_text(encoding="utf-8")).get("rows")
        if rows and of_rows(columns, rows).strip() == block.strip():
            return file
    return None


def _blocks(text: str) -> Iterator[tuple[str, bool]]:
    """The page in pieces, tables and what is between them."""
    last = 0
    for found in re.finditer(r"^(?:\|.*\n?)+", text, flags=re.MULTILINE):
        yield text[last : found.start()], False
        yield found[0], True
        last = found.end()
    yield text[last:], False


def _is_ruler(line: str) -> bool:
    return set("".join(cells(line))) <= set("-:") and "-" in line


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--take", type=Path, nargs="+", default=[], metavar="PAGE")
    for page in parser.parse_args().take:
        take(page)
    for page in sorted(RESULTS.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        if (again := made_again(text)) != text:
            page.write_text(again, encoding="utf-8")
            print(f"{page.name}: written anew")


if __name__ == "__main__":
    main()
