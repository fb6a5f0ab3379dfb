"""The house: a folder imports from the floors below it, and `docs/architecture.md` shows what imports what."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "expunge"
PAGE = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- imports: begin -->\n```\n", "```\n<!-- imports: end -->"

#: The floors, the top one first. What stands on one floor does not import from its neighbours.
FLOORS = (
    ("__main__",),
    ("cli",),
    ("commands",),
    ("sweep", "ledger"),
    ("cost",),
    ("quickstart",),
    ("run",),
    ("report", "methods"),
    ("folder",),
    ("recipe",),
    ("attacks",),
    ("benchmarks",),
    ("training",),
    ("evaluation",),
    ("adapters", "losses"),
    ("importance", "data", "objectives"),
    ("models", "evidence"),
    ("registry", "settings", "intact"),
    ("storage", "progress"),
    ("errors", "_version", "trust", "hub", "sandbox"),
)
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor}

Graph = dict[str, dict[str, int]]


def imports(source: Path) -> Iterator[tuple[str, str]]:
    """(importing room, imported room) of every import of the package, those in functions and for types too.

    A room is a folder or a module of the package's own root. The root's `__init__` is the package's front door: it
    stands above all floors, and is left out.
    """
    for file in sorted(source.rglob("*.py")):
        place = file.relative_to(source).with_suffix("").parts
        if place == ("__init__",):
            continue
        package = place if file.name == "__init__.py" else (*place[:-1], "")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            for target in _targets(node, package[:-1]):
                if target and target[0] != place[0]:
                    yield place[0], target[0]


def _targets(node: ast.AST, package: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """The imported modules of this package, as places within it."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            name = alias.name.split(".")
            if name[0] == "expunge":
                yield tuple(name[1:])
    elif isinstance(node, ast.ImportFrom):
        module = tuple((node.module or "").split(".")) if node.module else ()
        if node.level:
            base = package[: len(package) - node.level + 1] + module
        elif module[:1] == ("expunge",):
            base = module[1:]
        else:
            return
        for (
            alias
        ) in node.names:  # `from .. import errors` names rooms, `from ..errors import Problem` what is in one
            yield base or (alias.name,)


def graph(source: Path = SOURCE) -> Graph:
    """Room → imported room → how many import statements' names come from there."""
    found: Graph = defaultdict(lambda: defaultdict(int))
    for importing, imported in imports(source):
        found[importing][imported] += 1
    return {room: dict(found[room]) for room in found}


def drawn(rooms: Graph) -> str:
    """A line a room, the top floor first: what it imports, from the nearest floor down."""
    width = max(map(len, FLOOR))
    lines = []
    for floor in FLOORS:
        for room in floor:
            below = sorted(rooms.get(room, {}), key=lambda other: (FLOOR[other], other))
            lines.append(f"{room:<{width}} → {', '.join(below)}".rstrip(" →"))
    return "\n".join(lines) + "\n"


def faults(rooms: Graph) -> list[str]:
    """Every arrow that does not lead down."""
    return [
        f"{room} imports {other}, which is not below it"
        for room, others in rooms.items()
        for other in others
        if FLOOR[other] <= FLOOR[room]
    ]


def test_every_folder_has_a_floor() -> None:
    there = {file.stem for file in SOURCE.glob("*.py")} | {
        folder.name for folder in SOURCE.iterdir() if any(folder.glob("*.py"))
    }
    assert there - {"__init__"} == FLOOR.keys()


def test_every_arrow_leads_down() -> None:
    assert faults(graph()) == []


def test_no_package_imports_itself_in_a_circle() -> None:
    tuple(TopologicalSorter(graph()).static_order())  # raises where there is a circle


def test_the_page_shows_what_imports_what() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shown = text.partition(BEGIN)[2].partition(END)[0]
    assert shown == drawn(graph()), "run `python tests/test_architecture.py` to write it anew"


@pytest.mark.parametrize(
    ("statement", "up"),
    [
        ("from ..run import job", True),
        ("def late():\n    from ..run.job import Job", True),
        ("import expunge.run.job", True),
        ("from expunge.run import job", True),
        ("from .. import cli", True),
        ("from ..importance import vila", True),  # a neighbour
        ("from ..models import linear", False),
        ("from .rows import read_rows", False),
        ("import json", False),
    ],
)
def test_an_arrow_up_is_seen(tmp_path: Path, statement: str, up: bool) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "sets.py").write_text(statement + "\n")
    assert bool(faults(graph(tmp_path))) is up


def test_a_circle_is_seen(tmp_path: Path) -> None:
    for room, other in (("data", "run"), ("run", "data")):
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text(f"from ..{other} import something\n")
    with pytest.raises(CycleError):
        tuple(TopologicalSorter(graph(tmp_path)).static_order())


if __name__ == "__main__":
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    PAGE.write_text(before + BEGIN + drawn(graph()) + END + rest.partition(END)[2], encoding="utf-8")
