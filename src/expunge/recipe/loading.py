"""YAML file + dotted overrides → a recipe, or every mistake at once."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from ..errors import InputError, Problem, nearest
from ..settings import WRITTEN, misfit
from .methods import SETTINGS
from .schema import Recipe, data_section
from .shipped import shipped_recipes

#: Sections that one word may stand for → the key that it is the value of.
SHORT_FOR = {"objective": "forget", "method": "name"}
#: Characters of a number in a recipe; Python reads no whole number that is longer.
LONGEST_NUMBER = 4300


def load_recipe(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), **changes: Any
) -> Recipe:
    """Read a recipe from a YAML file (or a mapping) and apply `key.sub=value` overrides, then `changes`.

    Where there is no file of that path, it may be the name of a recipe that the package carries (`shipped.py`).

    Raises `InputError` with every mistake: unknown keys with the nearest known one, wrong types, unknown methods.
    """
    return check_recipe(*read_content(source, overrides, **changes))


def read_content(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), **changes: Any
) -> tuple[str, dict[str, Any]]:
    """What messages call the recipe, and its content with the overrides and changes, not yet checked."""
    if isinstance(source, Mapping):
        where, content = "recipe", copy.deepcopy(dict(source))
    else:
        where, content = str(source), _read_yaml(Path(source))
        content.setdefault("name", Path(source).stem)
    for override in overrides:
        _apply(content, override)
    content.update({key: value for key, value in changes.items() if value is not None})
    return where, content


def load_written_recipe(file: Path) -> Recipe:
    """The recipe as a run wrote it, to be shown; its losses are not looked up. Raises `InputError` for damage."""
    return check_recipe(*read_content(file), written=True)


def check_recipe(where: str, content: Mapping[str, Any], *, written: bool = False) -> Recipe:
    """The recipe of `content`. Raises `InputError` with every mistake; `where` is what messages call it."""
    try:
        return Recipe.model_validate(content, context=WRITTEN if written else None)
    except ValidationError as error:
        problems = [
            _problem(where, detail, content)
            for detail in error.errors()
            if detail["type"] != "default_factory_not_called"  # what it follows from is an error of its own
        ]
        # Where a key may be of several types, each type complains; the last, most structured one, says most.
        raise InputError(list({problem.where: problem for problem in problems}.values())) from None


@contextmanager
def naming_recipe(source: object) -> Iterator[None]:
    """Within the block, a problem with a recipe's key names the file `source` as well, where there is one.

    Where a shipped recipe needs a model or thresholds that are not there, the remedy is the command that makes them.
    """
    try:
        yield
    except InputError as error:
        if not isinstance(source, str | Path):
            raise
        shipped = shipped_recipes().get(Path(source).as_posix())
        made = shipped.made_first if shipped else {}
        raise InputError(
            [_named(_with_command(problem, made), str(source)) for problem in error.problems]
        ) from error


def _with_command(problem: Problem, made: Mapping[str, str]) -> Problem:
    command = next((made[output] for output in made if repr(output) in problem.reason), None)
    return problem if command is None else replace(problem, remedy=f"Make it: {command}")


def _named(problem: Problem, where: str) -> Problem:
    section = re.match(r"\w+(?=$|[.:])", problem.where)
    known = section is not None and section.group() in Recipe.model_fields.keys() - {"output"}
    # The name of a file may begin like a key.
    if not known or Path(re.split("[:,]", problem.where)[0]).exists():
        return problem
    return replace(problem, where=f"{where}: {problem.where}")


def dump_recipe(recipe: Recipe) -> str:
    """The resolved recipe as YAML, without sections that its method does not use; reading it back gives the same."""
    content = recipe.model_dump(mode="json", exclude=set(recipe.method.unused))
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _read_yaml(path: Path) -> dict[str, Any]:
    if not os.path.isfile(path):  # not by pathlib, whose question fails for a name that is too long
        shipped = shipped_recipes().get(path.as_posix())
        if shipped is None:
            raise InputError(
                Problem(str(path), "there is no such file.",
                        "Give the path of a recipe (YAML), or a name that `expunge recipes ls` shows.")
            )  # fmt: skip
        path = shipped.path
    content = read_yaml(path)
    if not isinstance(content, dict):
        raise InputError(
            Problem(str(path), "it holds no sections.", "A recipe has at least `model` and `data`.")
        )
    return content


def read_yaml(path: Path) -> Any:
    """What a YAML file says. Raises `InputError` where it is none, or says two things."""
    try:
        return _yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"it cannot be read: {error.strerror}."
        raise InputError(Problem(str(path), reason, "Name a file that you may read.")) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            Problem(str(path), f"it is not valid YAML: {_yaml_reason(error)}.", "Correct it there.")
        ) from None


class Ambiguous(yaml.constructor.ConstructorError):
    """YAML that says one thing to a reader and another to its parser."""


class _Loader(yaml.SafeLoader):
    """YAML 1.1 without what silently becomes something else: a key that stands twice, `010` for 8, `1:30` for 90."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            name = key.value if isinstance(key, yaml.ScalarNode) else None
            if name is None or key.tag != "tag:yaml.org,2002:str":
                raise Ambiguous(None, None, "a key is no text: write it in quotes", key.start_mark)
            if name in seen:
                raise Ambiguous(None, None, f"the key {name[:80]!r} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> int | float:
        text = node.value
        if ":" in text or re.match(r"[-+]?0[0-9_]", text):
            raise Ambiguous(None, None, f"{text[:80]!r} is another number in YAML, of base 60 or 8: write it without "
                            "colons and leading zeros, or as text in quotes", node.start_mark)  # fmt: skip
        if len(text) > LONGEST_NUMBER:
            raise Ambiguous(None, None, f"a number of {len(text):,} characters is too long", node.start_mark)
        whole = node.tag == "tag:yaml.org,2002:int"
        return self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)


for _kind in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_kind}", _Loader.construct_number)


def _yaml(text: str) -> Any:
    """What the text says. Raises `yaml.YAMLError` for what is wrong with it, of which `Ambiguous` says two things."""
    try:
        return yaml.load(text, _Loader)  # a SafeLoader
    except ValueError as error:  # of a date that is none
        raise Ambiguous(None, None, f"a value is none of its kind ({error}): write it in quotes") from None
    except RecursionError:
        raise Ambiguous(None, None, "its sections are nested too deeply to be read") from None


def _yaml_reason(error: Exception) -> str:
    """What PyYAML says, on one line and with the place in the file in front."""
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or str(error)
    place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return place + " ".join(said.split())


def _apply(content: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise InputError(Problem(override, "this is no override.", "Write key.sub=value."))
    try:
        value = _yaml(text)
    except Ambiguous as error:
        raise InputError(Problem(f"{key}={text[:80]}", f"{error.problem}.", "Write it in one way.")) from None
    except yaml.YAMLError:
        value = text
    set_key(content, key, value)


def set_key(content: dict[str, Any], key: str, value: Any) -> None:
    """Give `key.sub` of a recipe's content a value, over what is there."""
    *sections, last = key.split(".")
    place = content
    for section in sections:
        inner = place.setdefault(section, {})
        if not isinstance(inner, dict):
            # `objective: gd` is short for a section; an override inside it opens the section.
            inner = place[section] = {SHORT_FOR[section]: inner} if section in SHORT_FOR else {}
        place = inner
    place[last] = value


def _problem(where: str, detail: Any, content: Mapping[str, Any]) -> Problem:
    places = list(detail["loc"])
    if places[:1] == ["method"]:
        del places[1:2]  # a union's branch appears in the path under a name of its own, which is no key
    path = [str(part) for part in places if str(part).isidentifier()]
    if detail["type"] == "extra_forbidden" and not str(places[-1]).isidentifier():
        path.append(str(places[-1]))  # an unknown key may be any text
    path = [part for part in path if part not in ("str", "int", "value", "CustomTemplate")]
    key = ".".join(path)
    kind, value = detail["type"], detail.get("input")
    if kind == "extra_forbidden":
        return Problem(
            f"{where}: {key}",
            "there is no such key.",
            nearest(path[-1], _keys_at(path[:-1], detail, content)),
        )
    if kind == "missing":
        return Problem(f"{where}: {key}", "this key is missing.", "Add it to the recipe.")
    if kind in ("model_type", "model_attributes_type") and key != "method":  # whose keys follow from its name
        reason = f"the value {value!r} does not fit: a section of keys belongs here."
        return Problem(f"{where}: {key}", reason, f"Its keys: {', '.join(_keys_at(path, detail, content))}.")
    return misfit(f"{where}: {key}", detail)


def _keys_at(path: Sequence[str], detail: Any, content: Mapping[str, Any]) -> list[str]:
    """The keys that are known in the section that `path` leads to."""
    model: type[BaseModel] = Recipe
    for part in path:
        if part == "data":
            model = data_section(content["data"])
            continue
        if part == "method":
            model = SETTINGS[detail["loc"][1]]
            continue
        field = model.model_fields.get(part)
        options = [field.annotation, *get_args(field.annotation)] if field else []
        model = next(
            (each for each in options if isinstance(each, type) and issubclass(each, BaseModel)), model
        )
    return list(model.model_fields)
