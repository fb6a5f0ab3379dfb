"""The recipe: what a run is, as strict models. What is not named here is an error that names its nearest match."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from ..adapters.settings import Adapter
from ..attacks.settings import Attacks
from ..benchmarks.registry import benchmarks, measured_by_default, section_of
from ..benchmarks.settings import Evaluation
from ..data.settings import Data
from ..importance.settings import Importance
from ..models.settings import Model
from ..objectives.settings import ObjectiveSettings
from ..settings import Location, Section
from ..training.settings import Stopping, Training
from ..training.tuning import Tuning
from .methods import SETTINGS, AnyMethod, Unlearn, method_name

#: Where the recipe leaves the number of epochs open, the model is measured so many times in training, at most.
MOST_EVALUATIONS = 5


def data_section(given: Any) -> type[Data]:
    """The section that `given`, a recipe's raw `data`, is to be: its format's."""
    return section_of(given.get("format") if isinstance(given, dict) else None)


def _section(given: Any) -> Any:
    return given if isinstance(given, Data) else data_section(given).model_validate(given)


#: `Data` of the format that it names; a benchmark's own has keys of its own.
AnyData = Annotated[SerializeAsAny[Data], BeforeValidator(_section)]


class Recipe(Section):
    """A whole run."""

    name: str | None = Field(
        None, description="name of the run; from the recipe's file name where it is absent"
    )
    model: Model
    data: AnyData
    method: AnyMethod = Field(Unlearn(), description="unlearn, all_weights, task_arithmetic, retrain or uld")
    adapter: Adapter = Adapter()
    importance: Importance = Importance()
    # Made when it is needed: its losses load torch.
    objective: ObjectiveSettings = Field(default_factory=ObjectiveSettings)
    training: Training = Training()
    tuning: Tuning = Tuning()
    stopping: Stopping = Stopping()
    evaluation: Evaluation = Evaluation()
    attacks: Attacks = Attacks()
    export: list[Literal["adapter", "merged", "assistant"]] = Field(
        ["adapter"], description="what is handed over; retrain, all_weights: merged, uld: assistant"
    )
    seed: int = Field(42, ge=0, lt=2**32)
    output: Location = Field("runs/{name}", description="run folder")

    @model_validator(mode="before")
    @classmethod
    def _implied_by_method(cls, value: Any) -> Any:
        """Keys that are left out get the values that the method implies."""
        name = method_name(value.get("method")) if isinstance(value, dict) else None
        if not isinstance(name, str) or name not in SETTINGS:
            return value
        filled = dict(value)
        for key, implied in SETTINGS[name].implied.items():
            given = filled.setdefault(key, implied)
            if isinstance(implied, dict) and isinstance(given, dict):
                filled[key] = {**implied, **given}
        return filled

    @model_validator(mode="after")
    def _merged_needs_full_weights(self) -> Recipe:
        if "merged" in self.export and (self.model.quantization or self.model.dtype == "float16"):
            loaded = self.model.quantization or self.model.dtype
            raise ValueError(
                f"export: merged cannot be made of a base that is loaded in {loaded}, because its weights are not "
                "the checkpoint's. Export the adapter, and merge it into the base in its own dtype"
            )
        return self

    @model_validator(mode="after")
    def _first_is_known_to_the_benchmark(self) -> Recipe:
        if (
            self.evaluation.first is not None
            and "first" not in benchmarks[self.benchmark].options.model_fields
        ):
            raise ValueError(
                f"evaluation.first: the benchmark {self.benchmark!r} does not know it. Set evaluation.samples, or "
                "leave it out"
            )
        return self

    @property
    def given(self) -> dict[str, Any]:
        """Its content without what was left to defaults, which depend on the rest."""
        defaults = self.objective.hyperparameters.keys() - self.objective.model_fields_set
        return self.model_dump(mode="json", exclude_unset=True, exclude={"objective": defaults})

    def epochs_between_evaluations(self, epochs: int) -> int:
        """epochs: of the training, as planned; the recipe may have left them open"""
        every = self.evaluation.every
        if every == "auto" and self.training.epochs == "auto":
            return math.ceil(epochs / MOST_EVALUATIONS)
        return every if isinstance(every, int) else 1

    @property
    def run_name(self) -> str:
        return self.name or "run"

    @property
    def output_folder(self) -> str:
        return self.output.replace("{name}", self.run_name)

    @property
    def benchmark(self) -> str:
        if self.evaluation.benchmark != "auto":
            return self.evaluation.benchmark
        return measured_by_default(self.data.format)
