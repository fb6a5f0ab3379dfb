"""Several requests in one recipe: `data.forget` is a list, and one forget set is unlearned after another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..errors import InputError, Problem
from .loading import check_recipe, read_content
from .schema import Recipe


@dataclass(frozen=True)
class Requests:
    """A recipe whose forget set is a list.

    whole:   the recipe with the first forget set alone, its output folder that of all requests
    forget:  the forget sets, in their order
    recipes: one a request, with the folder `requests/K` of its own; each says what the first one's model is: what
             the requests before it left is added when it is run
    """

    whole: Recipe
    forget: tuple[Any, ...]
    recipes: tuple[Recipe, ...]

    @property
    def output(self) -> Path:
        return Path(self.whole.output_folder)

    @property
    def content(self) -> dict[str, Any]:
        """The resolved recipe with its list; reading it back gives the same requests."""
        content = self.whole.model_dump(mode="json")
        return {**content, "data": {**content["data"], "forget": list(self.forget)}}

    def dump(self) -> str:
        return yaml.safe_dump(self.content, sort_keys=False, allow_unicode=True)


def load_requests(
    source: str | Path | Mapping[str, Any], overrides: Sequence[str] = (), **changes: Any
) -> Recipe | Requests:
    """As `load_recipe`; where `data.forget` is a list, the requests that it means.

    Raises `InputError` with every mistake: those of `load_recipe`, an empty list, a forget set that is named twice,
    keys that hold for one forget set alone, and a retain split that the names cannot tell.
    """
    where, content = read_content(source, overrides, **changes)
    data = content.get("data")
    forget = data.get("forget") if isinstance(data, dict) else None
    if not isinstance(forget, list):
        return check_recipe(where, content)
    if not forget:
        raise InputError(
            Problem(f"{where}: data.forget", "the list is empty.", "Name at least one forget set.")
        )
    assert isinstance(data, dict)
    problems = [
        Problem(f"{where}: data.forget", f"{each!r} is in the list {forget.count(each)} times.",
                "Name each forget set once: what is forgotten need not be forgotten again.")
        for number, each in enumerate(forget)
        if each in forget[number + 1 :] and each not in forget[:number]
    ]  # fmt: skip
    checked: list[Recipe] = []
    for each in forget:
        try:
            checked.append(check_recipe(where, {**content, "data": {**data, "forget": each}}))
        except InputError as error:
            problems += error.problems
    if checked:
        problems += _of_one_set(where, checked[0])
    if problems:
        raise InputError(list(dict.fromkeys(problems)))
    whole = checked[0]
    recipes = [
        recipe.model_copy(
            update={
                "name": f"{whole.run_name}-{number}",
                "output": str(Path(whole.output_folder) / "requests" / str(number)),
                "export": ["adapter"],
            }
        )
        for number, recipe in enumerate(checked, start=1)
    ]
    return Requests(whole, tuple(forget), tuple(recipes))


def _of_one_set(where: str, recipe: Recipe) -> list[Problem]:
    """What a recipe may say of one forget set, but not of several."""
    problems = []
    for key in ("before", "reference"):
        given = getattr(recipe.evaluation, key)
        if given is not None and (key == "before" or Path(given).is_file()):
            remedy = "Leave it out." if key == "before" else "Name the model that it is of."
            problems.append(
                Problem(f"{where}: evaluation.{key}", f"{given!r} is a log of one forget set, and there are several.",
                        remedy)
            )  # fmt: skip
    if recipe.data.retains_itself:
        problems.append(
            Problem(f"{where}: data.retain", "the model's own samples are screened against one forget set, and there "
                    "are several.", "Name a retain set of your own, or the samples.jsonl that a run with one forget "
                    "file of all requests left in data.self_folder.")
        )  # fmt: skip
    if getattr(recipe.data, "neighbours", 0):
        problems.append(
            Problem(f"{where}: data.neighbours", "what the model writes is screened against one forget set, and there "
                    "are several.", "Leave it out.")
        )  # fmt: skip
    if "export" in recipe.method.implied:
        problems.append(
            Problem(f"{where}: method", f"{recipe.method.name!r} hands over no adapter, and each request starts from "
                    "those of the requests before it.", "Use unlearn or task_arithmetic.")
        )  # fmt: skip
    if recipe.data.retain_follows and recipe.data.retain is None:
        problems.append(
            Problem(f"{where}: data.retain", "which split to keep cannot be told from several forget sets.",
                    "Name one that shares no question with any of them.")
        )  # fmt: skip
    return problems
