"""Methods: the few questions in which one way to make a model forget differs from another."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

from ..adapters.export import export_adapter
from ..adapters.loading import write_merged
from ..adapters.weights import WEIGHTS_FILE
from ..errors import Problem
from ..folder.run import RunFolder
from ..models.settings import Model
from ..objectives import Objective
from ..recipe import Recipe
from ..training.selection import Candidate, Choice, choose, last
from ..training.settings import Training


class Method(ABC):
    """One way to make a model forget, with a recipe's settings. The phases ask it, and know no method by name.

    formula, paper, published: shown by `expunge methods`
    forms:  the folders that a run can hand over; the first always is
    reason: why there are no others
    shards: whether it runs on a base that is spread over the processes: nothing but an adapter on the whole model is
            trained or measured
    """

    formula: ClassVar[str]
    paper: ClassVar[str]
    published: ClassVar[str] = ""
    forms: ClassVar[tuple[str, ...]] = ("adapter", "merged")
    reason: ClassVar[str] = "the change is one of the weights"
    shards: ClassVar[bool] = False

    def __init__(self, recipe: Recipe):
        self.recipe = recipe

    @abstractmethod
    def objective(self) -> Objective:
        """The objective that training minimises, with its state at the start."""

    @property
    def source(self) -> Model:
        """The checkpoint that training starts from."""
        return self.recipe.model

    @property
    def starts_from_original(self) -> bool:
        """Whether training starts with the original's utility, so that the loss of it is a reason to stop."""
        return self.source == self.recipe.model

    @property
    def adapts(self) -> bool:
        """Whether an adapter is trained, not the model's own weights."""
        return True

    @property
    def needs_retain(self) -> bool:
        return self.objective().sees("retain")

    @property
    def finds_rate(self) -> bool:
        """Whether trials search for the learning rate."""
        return False

    @property
    def training(self) -> Training:
        return self.recipe.training

    def part(self, model: Any) -> Any:
        """The part of the model that is trained, or that carries the adapter."""
        return model

    @contextmanager
    def handed_over(self, original: Any, trained: Any) -> Iterator[Any]:
        """Within the block the model that users get, to be measured and exported."""
        yield trained

    def choose(self, candidates: Sequence[Candidate], original_utility: float, resolution: float) -> Choice:
        """The epoch whose model is handed over. resolution: forget scores no further apart are equally good"""
        rule = self.recipe.stopping.choose
        if rule == "last":
            return last(candidates, original_utility)
        return choose(candidates, original_utility, resolution if rule == "useful" else 0.0)

    def export(self, model: Any, tokenizer: Any, folder: RunFolder) -> int | None:
        """Write the forms that the recipe asks for; returns the adapter's size in bytes, None where there is none.

        model: as `handed_over` gives it, of the chosen epoch
        """
        base = self.recipe.model
        export_adapter(
            model, folder.adapter, base_name=base.path, revision=base.revision, beneath=base.adapters
        )
        if "merged" in self.recipe.export:
            write_merged(base, tokenizer, folder.adapter, folder.merged)
        return (folder.adapter / WEIGHTS_FILE).stat().st_size

    def problems(self) -> list[Problem]:
        """The problems of settings in the recipe that do not go with the method."""
        name, implied = self.recipe.method.name, self.recipe.method.implied
        problems = []
        for section in sorted(self.recipe.method.unused):
            given = getattr(self.recipe, section)
            if given != type(given)(**implied.get(section, {})):
                problems.append(
                    Problem(section, f"the method {name!r} has no use for it.", "Leave the section out.")
                )
        for form in self.recipe.export:
            if form not in self.forms:
                problems.append(
                    Problem("export", f"the method {name!r} cannot hand over {form!r}: {self.reason}.",
                            f"Ask for {' or '.join(self.forms)}.")
                )  # fmt: skip
        start = self.recipe.adapter.initialization
        if "adapter" in implied and "adapter" not in self.recipe.method.unused and start != "default":
            problems.append(
                Problem("adapter.initialization", f"{start!r} starts from a part of the weights, but the method "
                        f"{name!r} trains a plain adapter that starts from zero.",
                        "Leave the key out, or set it to 'default'.")
            )  # fmt: skip
        return problems
