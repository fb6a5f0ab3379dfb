"""Every command of README and docs is one that the command line knows, with its options and its recipe's keys.

The pages of the papers' rows have a test of their own, with every row filled in (`recipe/test_shipped_recipes.py`).
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.exceptions

from expunge.benchmarks.registry import benchmarks
from expunge.cli import app
from expunge.commands.evaluate import read_extra
from expunge.recipe import Recipe

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
TEMPLATES = {page for page in PAGES if page.name.startswith("papers")}


def shell_lines(text: str) -> list[str]:
    """The lines of sh blocks, those that end with a backslash joined with the next."""
    lines, kind = [], None
    for line in text.replace("\\\n", " ").splitlines():
        fence = re.match(r" *```(\w*)$", line)
        if fence:
            kind = fence[1] if kind is None else None
        elif kind in ("sh", "bash", "console", ""):
            lines.append(line.strip())
    return lines


def commands(text: str) -> list[list[str]]:
    """The words behind `expunge` of every such line, however it is started."""
    found = []
    for line in shell_lines(text):
        started = re.search(r"(?:^|&& |-m |^[A-Z_]+=\S+ )expunge (?=[a-z])", line)
        if started:
            found.append(shlex.split(line[started.end() :], comments=True))
    return found


def parsed(words: list[str]) -> tuple[str, Any]:
    """The command's name and its context. Raises a usage error for what the command line does not know."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("expunge", list(words), resilient_parsing=True)
    name, command, rest = group.resolve_command(context, words)
    if command is None:
        raise typer.BadParameter(f"no such command: {words[0]}")
    inner = command.make_context(name, list(rest), parent=context, resilient_parsing=False)
    if hasattr(command, "commands"):
        deeper, leaf, left = command.resolve_command(inner, list(rest))
        inner = leaf.make_context(deeper, list(left), parent=inner, resilient_parsing=False)
        name = f"{name} {deeper}"
    return name, inner


DOCUMENTED = [
    pytest.param(words, id=f"{page.name}: {' '.join(words)[:70]}")
    for page in PAGES
    if page not in TEMPLATES
    for words in commands(page.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize("words", DOCUMENTED)
def test_the_command_line_knows_it(words: list[str]) -> None:
    name, context = parsed(words)
    given = context.params
    for override in given.get("overrides") or []:
        assert override.split("=")[0].split(".")[0] in Recipe.model_fields, override
    if name == "eval":
        assert given["benchmark"] in benchmarks
        _, extra = read_extra([given["model"], *context.args])
        options = benchmarks[given["benchmark"]].options
        assert extra.keys() <= {each.replace("-", "_") for each in options.names().values()}
    else:
        assert not context.args


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_within_sentences_have_options_that_there_are(page: Path) -> None:
    """They may leave out what is needed."""
    group: Any = typer.main.get_command(app)
    wrong = []
    for text in re.findall(r"`expunge ([a-z][^`]*)`", page.read_text(encoding="utf-8")):
        words = [word for word in shlex.split(text) if word != "…"]
        if words[0] not in group.commands:
            continue
        try:
            parsed(words)
        except typer.exceptions.TyperException as error:
            wrong += [f"{text}: {error}"] if "No such" in str(error) else []
    assert not wrong


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_scripts_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for script in re.findall(r"(?:python |`)((?:experiments|examples|tests)/[\w/.-]+\.py)", text):
        assert (ROOT / script).is_file() or (ROOT / "tests" / script).is_file(), script


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_pages_that_a_page_links_to_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        if not re.match(r"\w+:", target):
            assert (page.parent / target).exists(), target


def test_the_index_names_every_page_and_none_is_long() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    linked = set(re.findall(r"\]\(([\w./-]+\.md)", index))
    for page in (ROOT / "docs").rglob("*.md"):
        lines = len(page.read_text(encoding="utf-8").splitlines())
        assert lines < 200, f"{page}: {lines} lines"
        name = page.relative_to(ROOT / "docs").as_posix()
        if name != "index.md" and not name.startswith("papers-"):  # papers.md leads to these
            assert name in linked, name


def test_what_is_wrong_is_found() -> None:
    text = "```sh\npython -m expunge run r.yaml a.b=1 --resume  # on\nEXPUNGE_X=1 expunge eval m \\\n  --json\n```"
    assert commands(text) == [["run", "r.yaml", "a.b=1", "--resume"], ["eval", "m", "--json"]]
    for words in (["run", "r.yaml", "--resum"], ["runn", "r.yaml"], ["export", "r", "--to"]):
        with pytest.raises(Exception, match=r"(?i)no such|requires an argument"):
            parsed(words)
