"""The recipe: what a run is, as strict models. What is not named here is an error that names its nearest match."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, SerializeAsAny, model_validator

from ..adapters.settings import Adapter
from ..attacks.settings import Attacks
from ..benchmarks.registry import measured_by_default, section_of
from ..benchmarks.settings import Evaluation
from ..data.settings import Data
from ..importance.settings import Importance
from ..models.settings import Model
from ..objectives.settings import ObjectiveSettings
from ..settings import Location, Section
from ..training.settings import Stopping, Training
from ..training.tuning import Tuning
from .methods import SETTINGS, AnyMethod, Unlearn, method_name


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
    method: AnyMethod = Field(Unlearn(), description="unlearn, task_arithmetic, retrain or uld")
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
        ["adapter"], description="what is handed over; retrain: merged, uld: assistant"
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

    @property
    def given(self) -> dict[str, Any]:
        """Its content without what was left to defaults, which depend on the rest."""
        defaults = self.objective.hyperparameters.keys() - self.objective.model_fields_set
        return self.model_dump(mode="json", exclude_unset=True, exclude={"objective": defaults})

    @property
    def epochs_between_evaluations(self) -> int:
        return 1 if self.evaluation.every == "epoch" else self.evaluation.every

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
