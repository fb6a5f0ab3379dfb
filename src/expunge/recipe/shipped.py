"""The recipes that come with the package: the papers' experiments at full size (docs/papers.md is their index).

A recipe's name is its place: `paper/benchmark/model`, and behind it the loss where each loss has hyper-parameters of
its own. Only YAML is read here, so that listing them needs no heavy library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError, Problem, nearest
from ..intact import check_writable
from ..storage import write_text

FOLDER = Path(__file__).parents[1] / "recipes"

#: The papers whose experiments are shipped, by the first part of a recipe's name.
PAPERS = {"loku": "LoKU, ICLR 2025", "vila": "VILA, COLM 2025"}


@dataclass(frozen=True)
class ShippedRecipe:
    """A recipe of the package: its name and its file."""

    name: str
    path: Path

    @property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @property
    def description(self) -> str:
        """What the recipe says of itself in its first line."""
        return self.text.partition("\n")[0].lstrip("# ")

    @property
    def made_first(self) -> dict[str, str]:
        """File or folder that the recipe needs → the command that makes it, as its head says."""
        commands = re.findall(r"^# +(expunge .* --output (\S+).*)$", self.text, flags=re.MULTILINE)
        return {output: command for command, output in commands}

    @property
    def facts(self) -> dict[str, Any]:
        """What `expunge recipes ls` shows."""
        paper, benchmark, *_ = self.name.split("/")
        return {
            "name": self.name,
            "paper": PAPERS[paper],
            "benchmark": benchmark,
            "model": yaml.safe_load(self.text)["model"]["path"],
            "description": self.description,
        }


def shipped_recipes() -> dict[str, ShippedRecipe]:
    """Name → recipe, in the order of their names."""
    recipes = (
        ShippedRecipe(path.relative_to(FOLDER).as_posix().removesuffix(".yaml"), path)
        for path in FOLDER.rglob("*.yaml")
    )
    return {recipe.name: recipe for recipe in sorted(recipes, key=lambda recipe: recipe.name)}


def shipped_recipe(name: str) -> ShippedRecipe:
    """The recipe of that name. Raises `InputError` where there is none, naming the nearest."""
    known = shipped_recipes()
    if name not in known:
        raise InputError(Problem(name, "there is no shipped recipe of this name.", nearest(name, known)))
    return known[name]


def copy_recipe(name: str, target: Path) -> Path:
    """Write the recipe `name` to a new file, or into a folder under its name with dashes for slashes.

    Returns the file. Raises `InputError` for an unknown name and for a file that is there already.
    """
    recipe = shipped_recipe(name)
    file = target / f"{name.replace('/', '-')}.yaml" if target.is_dir() else target
    if file.exists():
        raise InputError(Problem(str(file), "there is a file already.", "Choose another path, or remove it."))
    check_writable(file, "PATH")
    write_text(file, recipe.text)
    return file
